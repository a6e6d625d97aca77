internal import Synchronization
internal import VDPA

/// What is to go wrong with a device. Used by whoever breaks it, by its operations and by its thread.
final class FaultBoard: Sendable {
  private struct Armed {
    let fault: SimulatedFault
    let isOnce: Bool
    /// How many packets or requests it still waits for.
    var packets: Int
  }

  private let device: String
  private let armed = Mutex<[Armed]>([])
  /// Spares the thread a lock for each packet of a device with which nothing is wrong.
  private let isArmed = Atomic<Bool>(false)
  /// How often faults were cleared: delays that were waited for then are over.
  private let clearings = Atomic<Int>(0)
  /// Wakes operations that are delayed.
  private let changed = FutexWord()

  init(device: String) { self.device = device }

  /// Whether anything is to go wrong, be it later.
  var isAny: Bool { isArmed.load(ordering: .relaxed) }

  func arm(_ fault: SimulatedFault, once isOnce: Bool, afterPackets packets: Int) {
    change { armed in
      armed.removeAll { $0.fault == fault }
      armed.append(Armed(fault: fault, isOnce: isOnce, packets: max(packets, 0)))
    }
  }

  func disarm(_ isIncluded: (SimulatedFault) -> Bool) {
    clearings.wrappingAdd(1, ordering: .relaxed)
    change { armed in armed.removeAll { isIncluded($0.fault) } }
  }

  private func change(_ body: (inout [Armed]) -> Void) {
    armed.withLock { armed in
      body(&armed)
      isArmed.store(!armed.isEmpty, ordering: .relaxed)
    }
    changed.signal()
  }

  /// A packet or request was completed.
  func countPacket() {
    guard isAny else { return }
    let hasCome = armed.withLock { armed in
      var hasCome = false
      for i in armed.indices where armed[i].packets > 0 {
        armed[i].packets -= 1
        hasCome = hasCome || armed[i].packets == 0
      }
      return hasCome
    }
    if hasCome { changed.signal() }
  }

  /// Whether a fault has come about.
  func isActive(_ fault: SimulatedFault) -> Bool {
    isAny && armed.withLock { armed in armed.contains { $0.fault == fault && $0.packets == 0 } }
  }

  /// The same, for one that happens by being asked for; it then goes if it is to happen once.
  func take(_ fault: SimulatedFault) -> Bool { take { $0 == fault } != nil }

  private func take(_ isWanted: (SimulatedFault) -> Bool) -> SimulatedFault? {
    guard isAny else { return nil }
    var found: SimulatedFault?
    armed.withLock { armed in
      guard let i = armed.firstIndex(where: { $0.packets == 0 && isWanted($0.fault) }) else { return }
      found = armed[i].fault
      if armed[i].isOnce { armed.remove(at: i) }
      isArmed.store(!armed.isEmpty, ordering: .relaxed)
    }
    return found
  }

  /// An operation begins.
  ///
  /// - Throws: ``SimulatorError`` `injected`, `vanished` or `refusedToStop`, when it must not go on.
  func begin(_ operation: SimulatedOperation) throws(SimulatorError) {
    guard isAny else { return }
    wait(operation)
    guard !isActive(.vanishing) || operation == .close || operation == .unmap else { throw vanished(operation) }
    if [.close, .stopVring, .suspend].contains(operation), isActive(.refusalToStop) {
      throw SimulatorError(
        .refusedToStop,
        "simulated device \(device) refuses \(operation.rawValue), as it was told to, and goes on serving its rings")
    }
    if take(.failure(of: operation)) {
      throw SimulatorError(.injected, "simulated device \(device) fails in \(operation.rawValue), as it was told to")
    }
  }

  func vanished(_ operation: SimulatedOperation) -> SimulatorError {
    SimulatorError(.vanished, "simulated device \(device) has vanished: no \(operation.rawValue)")
  }

  /// Waits if the operation is to be delayed, until the fault is cleared or the device is gone.
  private func wait(_ operation: SimulatedOperation) {
    let delay = take { fault in
      if case .delay(operation, _) = fault { true } else { false }
    }
    guard case .delay(_, let milliseconds)? = delay else { return }
    let end = MonotonicClock.nanoseconds &+ UInt64(max(milliseconds, 0)) * 1_000_000
    let cleared = clearings.load(ordering: .relaxed)
    while true {
      let seen = changed.value
      guard !isActive(.vanishing), clearings.load(ordering: .relaxed) == cleared else { return }
      let now = MonotonicClock.nanoseconds
      guard now < end else { return }
      changed.wait(whileEqualTo: seen, nanoseconds: Int64(clamping: end - now))
    }
  }
}
