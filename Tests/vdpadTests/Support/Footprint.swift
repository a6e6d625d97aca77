import Peers
import Testing

/// What a process has of everything that can run out.
struct Footprint: CustomStringConvertible {
  let holdings: Holdings
  /// All of its mappings, those of its heap and its stacks included.
  let mappings: Int
  /// Resident memory, in KiB.
  let resident: Int

  init(of process: PeerProcess) throws {
    let folder = "/proc/\(process.pid)"
    holdings = Holdings(of: process)
    mappings = try #require(SystemTable.text(at: folder + "/maps")).split(separator: "\n").count
    let rollup = try #require(SystemTable.text(at: folder + "/smaps_rollup"))
    resident = try #require(rollup.firstMatch(of: #/Rss: +(\d+) kB/#).flatMap { Int($0.output.1) })
  }

  /// What a process has once its holdings have settled.
  static func settled(of process: PeerProcess) throws -> Footprint {
    _ = try Holdings.settled(of: process)
    return try Footprint(of: process)
  }

  var description: String {
    "\(holdings.descriptors) descriptors, \(mappings) mappings, \(holdings.mappings) of them of guests, \(resident) KiB"
  }
}
