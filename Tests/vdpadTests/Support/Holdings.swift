import Foundation
import Peers
import Testing

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

  /// How often in a row they have to be found the same, and the time between.
  private static let equalReads = 10
  private static let interval = 0.01

  /// What a process holds that has nothing left to do but to let go: descriptors are closed by a thread of their own, after
  /// whoever gave them back has had an answer.
  static func settled(of process: PeerProcess) throws -> Holdings {
    var last = Holdings(of: process)
    var found = 1
    let isSettled = becomesTrue(every: interval) {
      let now = Holdings(of: process)
      found = now == last ? found + 1 : 1
      last = now
      return found >= equalReads
    }
    try #require(isSettled, "what process \(process.pid) holds goes on changing")
    return last
  }

  /// Waits until a process holds what it held `before`; what it holds then.
  static func settled(of process: PeerProcess, to before: Holdings) -> Holdings {
    var now = Holdings(of: process)
    _ = becomesTrue {
      now = Holdings(of: process)
      return now == before
    }
    return now
  }
}
