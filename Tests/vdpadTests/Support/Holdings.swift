import Foundation
import Peers

/// What a process holds, for a comparison before and after.
struct Holdings: Equatable, Sendable {
  /// Open descriptors.
  var descriptors: Int
  /// Mappings of memory files.
  var mappings: Int

  init(of process: PeerProcess) {
    let folder = "/proc/\(process.pid)"
    descriptors = (try? FileManager.default.contentsOfDirectory(atPath: folder + "/fd").count) ?? -1
    let maps = SystemTable.text(at: folder + "/maps")
    mappings = maps.map { $0.split(separator: "\n").count { $0.contains("memfd:") || $0.contains("/dev/shm/") } } ?? -1
  }
}
