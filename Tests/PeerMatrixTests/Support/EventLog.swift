import Synchronization
import VhostUser
import Virtio

/// Remembers what happened on a socket.
final class EventLog: VhostUserSocketDelegate {
  private let events = Mutex<[SocketEvent]>([])

  func socket(_ socket: VhostUserSocket, event: SocketEvent) { events.withLock { $0.append(event) } }

  /// How often a ring went from stopped to started.
  func starts(of index: Int) -> Int {
    var (isRunning, count) = (false, 0)
    for case .vring(index, let isStarted, _) in events.withLock({ $0 }) {
      if isStarted && !isRunning { count += 1 }
      isRunning = isStarted
    }
    return count
  }

  /// How many rings are started and enabled, as far as messages have been taken in.
  var running: Int {
    var states: [Int: Bool] = [:]
    for event in events.withLock({ $0 }) {
      switch event {
      case .connected: states = [:]
      case .vring(let index, let isStarted, let isEnabled): states[index] = isStarted && isEnabled
      default: break
      }
    }
    return states.values.count { $0 }
  }

  /// The features that the front-end accepted last.
  var features: Features {
    for case .featuresNegotiated(let features, _) in events.withLock({ $0 }).reversed() { return features }
    return []
  }

  /// How many front-ends have connected.
  var connections: Int {
    events.withLock { events in
      events.count { if case .connected = $0 { true } else { false } }
    }
  }
}
