internal import Synchronization
internal import VDPA

/// The switches of an engine: each is made for the first socket that names it, and goes with the last.
final class Switches: Sendable {
  private struct Entry {
    weak var network: Switch?
  }

  private let all = Mutex<[String: Entry]>([:])

  /// Makes a socket a port of a switch.
  ///
  /// - Throws: ``DatapathError`` for a switch without room, or `system`.
  func join(_ name: String, pairs: Int, owner: String) throws(DatapathError) -> SwitchMember {
    let found = all.withLock { all -> Result<Switch, DatapathError> in
      if let network = all[name]?.network { return .success(network) }
      all = all.filter { $0.value.network != nil }
      do throws(DatapathError) {
        let network = try Switch(name)
        all[name] = Entry(network: network)
        return .success(network)
      } catch {
        return .failure(error)
      }
    }
    return try found.get().join(owner, pairs: pairs)
  }

  var statistics: [String: [SwitchPortStatistics]] {
    all.withLock { all in all.compactMapValues { $0.network } }.mapValues(\.statistics)
  }
}
