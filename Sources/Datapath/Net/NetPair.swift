internal import Synchronization
internal import VDPA
internal import Virtio

/// A queue pair of a software net device with the port that serves it: what a worker serves together.
final class NetPair: WorkerClient {
  let name: String
  private let place: WorkerHome
  let receive: OwnedVring
  let transmit: OwnedVring
  /// Only ever used by the worker.
  private let port: BurstOwnership<any NetPort>
  /// Whether, after the last turn, only what the guest sends can give the port something to do.
  private let isQuiet = Atomic<Bool>(false)
  /// What wakes the worker for what the port has for the guest.
  private let wakeup: OwnedFD?
  private let followsReceiver: Bool

  /// What the kick descriptors of the two vrings, and the port's own, are watched under.
  private static let receiveSource = 0
  private static let transmitSource = 1
  private static let portSource = 2

  init(name: String, worker: Worker, port: sending any NetPort, receive: OwnedVring, transmit: OwnedVring) {
    self.name = name
    place = WorkerHome(worker)
    self.receive = receive
    self.transmit = transmit
    wakeup = port.wakeup
    followsReceiver = port.followsReceiver
    self.port = BurstOwnership(port)
  }

  // MARK: The worker

  var home: WorkerHome? { place }

  /// What a turn has come to.
  private struct Turn {
    var work = 0
    /// Whether there is something to tell of a ring.
    var hasReport = false
    var isQuiet = false
  }

  /// Serves the pair once. A pair of which a vring is being changed is passed over.
  ///
  /// - Parameters:
  ///   - burst: The worker's own.
  ///   - isPolled: Whether the worker looks again by itself; if not, the guest is asked for kicks as soon as there is
  ///     nothing left to do.
  /// - Returns: How much was done, 0 for nothing.
  func serve(_ burst: PacketBurst, isPolled: Bool) -> Int {
    var turn = Turn()
    port.burst { port in
      receive.ownership.burst { receive in
        transmit.ownership.burst { transmit in
          turn = NetPair.serve(&receive, &transmit, by: &port, burst, isPolled: isPolled)
        }
      }
    }
    isQuiet.store(turn.isQuiet, ordering: .relaxed)
    if turn.hasReport {
      receive.report()
      transmit.report()
    }
    return turn.work
  }

  private static func serve(
    _ receive: inout NetVring?, _ transmit: inout NetVring?, by port: inout any NetPort, _ burst: PacketBurst,
    isPolled: Bool
  ) -> Turn {
    receive?.wantKicks(false)
    transmit?.wantKicks(false)
    var turn = Turn(work: move(&receive, &transmit, by: &port, burst))
    if turn.work == 0 && !isPolled {
      receive?.wantKicks(true)
      transmit?.wantKicks(true)
      port.wantWakeup()
      turn.work = move(&receive, &transmit, by: &port, burst)
    }
    turn.hasReport = receive?.hasReport() == true || transmit?.hasReport() == true
    turn.isQuiet = turn.work == 0 && port.isQuiet
    return turn
  }

  private static func move(
    _ receive: inout NetVring?, _ transmit: inout NetVring?, by port: inout any NetPort, _ burst: PacketBurst
  ) -> Int {
    guard transmit?.isEnabled != false else {
      // Whoever was served before may have left it full.
      burst.clear()
      return transmit?.discard(burst) ?? 0
    }
    return port.serve(&receive, &transmit, burst)
  }

  func quietLook() -> QuietLook? {
    guard isQuiet.load(ordering: .relaxed) else { return nil }
    let look = transmit.ownership.burst { vring -> QuietLook? in
      guard vring != nil else { return transmit.ownership.look(at: .never) }
      return vring?.quietWord().map { transmit.ownership.look(at: $0) }
    }
    return look ?? nil
  }

  /// Counts a kick; only the worker writes these counters while it serves the pair.
  func woken(by source: Int) {
    guard source != NetPair.portSource else { return }
    (source == NetPair.transmitSource ? transmit : receive).counters.add(.kicks, 1)
  }

  /// Whether a vring of the pair has no kick descriptor.
  var needsPolling: Bool { receive.needsPolling || transmit.needsPolling }
}

extension NetPair: NetPairServer {
  func begin(for owner: String) throws {
    try port.exclusively(name) { $0.begin() }
    place.attach(self)
    guard let wakeup else { return }
    do {
      try place.watch(wakeup, of: self, source: NetPair.portSource)
    } catch {
      place.detach(self)
      throw error
    }
  }

  func end() {
    if let wakeup { place.unwatch(wakeup) }
    place.detach(self)
    try? port.exclusively(name) { $0.end() }
  }

  func leave(for worker: Worker) throws { try place.leave(self, for: worker) }

  func comeBack() throws { try place.comeBack(self) }

  func mayTakeLong(_ mayTakeLong: Bool) {
    for vring in [receive, transmit] { vring.ownership.mayTakeLong(mayTakeLong) }
    port.mayTakeLong(mayTakeLong)
  }

  func watch(_ kick: OwnedFD, isTransmit: Bool) throws {
    try place.watch(kick, of: self, source: isTransmit ? NetPair.transmitSource : NetPair.receiveSource)
  }

  func unwatch(_ kick: OwnedFD, isTransmit: Bool) { place.unwatch(kick) }

  // A port with a network behind it sends the frame there; elsewhere it goes where what the guest sends goes, and a loopback
  // does not tell the guest of itself.
  func announce(_ frame: [UInt8]) throws {
    // A worker that met the pair meanwhile has passed it over.
    defer { place.nudge() }
    try transmit.change { _ in transmit.counters.addAnnouncement(frame) }
    try port.exclusively(name) { $0.announce(frame) }
  }

  func changed(isTransmit: Bool) {
    if followsReceiver && !isTransmit { tellOfReceiver() }
    // A worker that met the pair while the vring was closed has passed it over.
    place.nudge()
  }

  private func tellOfReceiver() {
    // Whoever is stuck in a ring or in the port receives nothing; neither is entered any more.
    let receiver = try? receive.change { vring in vring.flatMap { $0.isEnabled ? $0.receiver : nil } }
    try? port.exclusively(name) { $0.receiverChanged(receiver) }
  }
}
