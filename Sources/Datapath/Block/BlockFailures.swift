internal import Synchronization
internal import VDPA

/// Tells the operator why requests fail, without letting a guest or a failing disk fill a log: one line a second at most
/// of each cause, with the number of those left out.
final class BlockFailures: Sendable {
  /// Who is at fault.
  enum Cause: Int, CaseIterable, Sendable {
    /// The guest's driver: a request that no correct one makes.
    case guest
    /// The file, or the system.
    case medium
  }

  /// Takes what went wrong on a vring. Called on a worker.
  typealias Sink = @Sendable (String) -> Void

  private struct State {
    /// By vring.
    var sinks: [Int: Sink] = [:]
    /// When a cause was told of last.
    var told: [UInt64?] = Array(repeating: nil, count: Cause.allCases.count)
    var leftOut: [Int] = Array(repeating: 0, count: Cause.allCases.count)
  }

  private static let interval: UInt64 = 1_000_000_000
  private let state = Mutex(State())

  /// Says who is told of failures on a vring from now on; nil for nobody.
  func setSink(_ sink: Sink?, vring: Int) {
    state.withLock { $0.sinks[vring] = sink }
  }

  /// Tells that a request has failed, if it is not too soon.
  ///
  /// - Parameters:
  ///   - now: The time in nanoseconds.
  ///   - reason: Only asked for when it is told.
  func add(
    _ cause: Cause, vring: Int, now: UInt64 = MonotonicClock.nanoseconds, _ reason: @autoclosure () -> String
  ) {
    let (sink, leftOut) = state.withLock { state -> (Sink?, Int) in
      guard let sink = state.sinks[vring] else { return (nil, 0) }
      if let last = state.told[cause.rawValue], now &- last < BlockFailures.interval {
        state.leftOut[cause.rawValue] += 1
        return (nil, 0)
      }
      state.told[cause.rawValue] = now
      defer { state.leftOut[cause.rawValue] = 0 }
      return (sink, state.leftOut[cause.rawValue])
    }
    guard let sink else { return }
    sink(leftOut == 0 ? reason() : "\(reason()) (and \(leftOut) more requests since the last such line)")
  }
}
