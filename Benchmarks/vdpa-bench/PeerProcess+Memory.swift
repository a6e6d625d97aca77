import Foundation
import Peers

extension PeerProcess {
  /// Memory that nobody shares with it (smaps_rollup), in KiB; nil when the kernel does not say.
  var privateMemory: Int? {
    guard let rollup = SystemTable.text(at: "/proc/\(pid)/smaps_rollup") else { return nil }
    return rollup.matches(of: #/Private_(?:Clean|Dirty): +(\d+) kB/#).reduce(0) { $0 + (Int($1.output.1) ?? 0) }
  }

  /// Open descriptors.
  var descriptors: Int? { try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count }
}
