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

  /// What the kick descriptors of the two vrings are watched under.
  private static let receiveSource = 0
  private static let transmitSource = 1

  init(name: String, worker: Worker, port: sending any NetPort, receive: OwnedVring, transmit: OwnedVring) {
    self.name = name
    place = WorkerHome(worker)
    self.receive = receive
    self.transmit = transmit
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
    (source == NetPair.transmitSource ? transmit : receive).counters.add(.kicks, 1)
  }

  /// Whether a vring of the pair has no kick descriptor.
  var needsPolling: Bool { receive.needsPolling || transmit.needsPolling }
}

extension NetPair: NetPairServer {
  func begin(for owner: String) throws {
    try port.exclusively(name) { $0.begin() }
    place.attach(self)
  }

  func end() { place.detach(self) }

  func leave(for worker: Worker) throws { try place.leave(self, for: worker) }

  func comeBack() throws { try place.comeBack(self) }

  func watch(_ kick: OwnedFD, isTransmit: Bool) throws {
    try place.watch(kick, of: self, source: isTransmit ? NetPair.transmitSource : NetPair.receiveSource)
  }

  func unwatch(_ kick: OwnedFD, isTransmit: Bool) { place.unwatch(kick) }

  // No port has a network behind it: the frame goes where what the guest sends goes, and a loopback does not tell the guest
  // of itself.
  func announce(_ frame: [UInt8]) throws {
    try transmit.change { _ in transmit.counters.addAnnouncement(frame) }
  }

  // A worker that met the pair while the vring was closed has passed it over.
  func changed(isTransmit: Bool) { place.nudge() }
}
