internal import Synchronization
internal import VDPA
internal import Virtio

/// A queue pair of a software net device: what a worker serves together.
final class NetPair: WorkerClient {
  /// The two vrings, from the guest's point of view; nil while they are stopped.
  struct Rings {
    var receive: NetVring?
    var transmit: NetVring?
  }

  /// What the owner works on.
  struct State {
    var rings = Rings()
    var port: any NetPort
    var observer: (any DeviceObserver)?
  }

  let name: String
  let worker: Worker
  private let isWithoutKick = Atomic<Bool>(false)
  let receiveCounters = VringCounters()
  let transmitCounters = VringCounters()
  private let ownership: BurstOwnership<State>

  init(name: String, worker: Worker, port: sending any NetPort) {
    self.name = name
    self.worker = worker
    ownership = BurstOwnership(State(port: port))
  }

  // MARK: The worker

  /// Serves the pair once.
  ///
  /// - Parameter isPolled: Whether the worker looks again by itself; if not, the guest is asked for kicks as soon as there
  ///   is nothing left to do.
  /// - Returns: How much was done, 0 for nothing.
  func serve(_ burst: PacketBurst, isPolled: Bool) -> Int {
    let turn = ownership.burst { state -> (work: Int, isFaulty: Bool) in
      state.rings.wantKicks(false)
      var work = state.serve(burst)
      if work == 0 && !isPolled {
        state.rings.wantKicks(true)
        work = state.serve(burst)
      }
      return (work, state.rings.isFaulty)
    }
    guard let turn else { return 0 }
    if turn.isFaulty { reportFaults() }
    return turn.work
  }

  /// Tells of broken rings, once each; outside of the burst, for whoever hears of it may want to change the pair.
  private func reportFaults() {
    let found = ownership.burst { state in (state.rings.takeFaults(), state.observer) }
    guard let (faults, observer) = found else { return }
    for (index, fault) in faults {
      observer?.deviceReports(.vringBroken(index: index, reason: fault.description))
    }
  }

  /// Counts a kick; only the worker writes these counters while it serves the pair.
  func woken(by source: Int) {
    (source == NetPair.transmitSource ? transmitCounters : receiveCounters).add(.kicks, 1)
  }

  /// What the kick descriptors of the two vrings are watched under.
  static let receiveSource = 0
  static let transmitSource = 1

  /// Whether a vring of the pair has no kick descriptor.
  var needsPolling: Bool { isWithoutKick.load(ordering: .relaxed) }

  // MARK: The control side

  /// Changes the pair between two bursts.
  func change<Result>(_ body: (inout State) throws -> Result) throws -> Result {
    // A worker that met the pair while it was closed has passed it over.
    defer { worker.nudge() }
    return try ownership.exclusively(name) { state in
      defer {
        let vrings = [state.rings.receive, state.rings.transmit].compactMap { $0 }
        isWithoutKick.store(vrings.contains { $0.kick == nil }, ordering: .relaxed)
        if vrings.isEmpty { state.observer = nil }
      }
      return try body(&state)
    }
  }
}

extension NetPair.State {
  fileprivate mutating func serve(_ burst: PacketBurst) -> Int {
    guard rings.transmit?.isEnabled != false else { return rings.transmit?.discard(burst) ?? 0 }
    return port.serve(&rings, burst)
  }
}

extension NetPair.Rings {
  fileprivate mutating func wantKicks(_ wanted: Bool) {
    receive?.wantKicks(wanted)
    transmit?.wantKicks(wanted)
  }

  /// Whether a ring is broken that nobody has been told of.
  fileprivate var isFaulty: Bool { receive?.hasNewFault == true || transmit?.hasNewFault == true }

  fileprivate mutating func takeFaults() -> [(Int, RingFault)] {
    var faults: [(Int, RingFault)] = []
    if let fault = receive?.takeFault() { faults.append((receive?.index ?? 0, fault)) }
    if let fault = transmit?.takeFault() { faults.append((transmit?.index ?? 0, fault)) }
    return faults
  }
}
