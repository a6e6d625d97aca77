import Glibc
import Synchronization
import VDPA
import Virtio

/// An engine whose devices give every packet back and do one thing wrong: the negative control of content and order.
final class TamperingEngine: Engine {
  /// What happens to packet number ``TamperingEngine/place``.
  enum Tampering: String, CaseIterable, Sendable {
    case nothing
    /// It changes places with the next one.
    case swap
    /// Its last bit changes.
    case bit
    case loss
    case repetition
  }

  /// Counted from 0.
  static let place = 777

  private let tampering: Tampering

  init(_ tampering: Tampering) { self.tampering = tampering }

  var attributes: EngineAttributes { EngineAttributes(deviceCount: 0) }
  func open(_ request: DeviceRequest) throws -> sending any Device { TamperingDevice(tampering) }
  func stop() {}
}

/// One queue pair, served by a thread that looks at it all the time: kicks, calls and what is enabled mean nothing to it.
private final class TamperingDevice: Device {
  private struct Refusal: Error {}

  private let tampering: TamperingEngine.Tampering
  private var server: (thread: PinnedThread, run: TamperingRun)?

  init(_ tampering: TamperingEngine.Tampering) { self.tampering = tampering }

  let attributes = DeviceAttributes(
    type: .net, features: DeviceRing.features.union([.netMergeableBuffers]),
    protocolFeatures: [.multiqueue, .replyAck, .memorySlots], vringCount: 2)
  var capabilities: DeviceCapabilities { DeviceCapabilities() }

  func configure(_ setup: DeviceSetup) throws {
    let run = try TamperingRun(setup, tampering)
    server = (try PinnedThread(name: "tampering") { run.serve() }, run)
  }

  func close() throws -> [VringState] {
    guard let (thread, run) = server else { return [] }
    run.isEnding.store(true, ordering: .relaxed)
    thread.join()
    server = nil
    return run.rings.withLock { rings in
      [rings.receive, rings.transmit].enumerated().map {
        VringState(index: $0, nextAvail: $1.nextAvail, nextUsed: $1.nextUsed)
      }
    }
  }

  func setVring(_ description: VringDescription, enabled: Bool) throws {}
  func setFeatures(_ features: Features) throws {}
  func migrationDone() throws {}
  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws { if server != nil { throw Refusal() } }
}

/// The service of a configured device.
private final class TamperingRun: Sendable {
  struct Rings {
    var receive: DeviceRing
    var transmit: DeviceRing
  }

  let isEnding = Atomic<Bool>(false)
  /// Held by the thread for as long as it serves.
  let rings: Mutex<Rings>
  private let memory: GuestMemory
  private let features: Features
  private let tampering: TamperingEngine.Tampering

  init(_ setup: DeviceSetup, _ tampering: TamperingEngine.Tampering) throws {
    let layout = RingLayout.Format(for: setup.features)
    func ring(_ index: Int) throws -> DeviceRing {
      let vring = setup.vrings[index].description
      let memory = try RingMemory(
        RingLayout(layout, size: vring.size), descriptor: vring.descriptor, avail: vring.avail, used: vring.used,
        memory: setup.memory.addressMap.view)
      return DeviceRing(
        memory, features: setup.features, nextAvail: vring.state.nextAvail, nextUsed: vring.state.nextUsed)
    }
    rings = Mutex(Rings(receive: try ring(0), transmit: try ring(1)))
    memory = setup.memory
    features = setup.features
    self.tampering = tampering
  }

  func serve() {
    rings.withLock { rings in
      let (packet, next) = (PacketBurst(), PacketBurst())
      var number = 0
      while take(into: packet, &rings) {
        switch number == TamperingEngine.place ? tampering : .nothing {
        case .nothing: give(packet, &rings)
        case .swap:
          guard take(into: next, &rings) else { return }
          give(next, &rings)
          give(packet, &rings)
          number += 1
        case .bit:
          packet.withPayload(0, headerLength: NetHeader.length(for: features)) { $0[$0.count - 1] ^= 1 }
          give(packet, &rings)
        case .loss: break
        case .repetition:
          give(packet, &rings)
          give(packet, &rings)
        }
        number += 1
      }
    }
  }

  /// Waits for a packet and returns its chain at once. False at the end.
  private func take(into packet: PacketBurst, _ rings: inout Rings) -> Bool {
    packet.clear()
    while !isEnding.load(ordering: .relaxed) {
      let taken = rings.transmit.dequeueBurst(
        into: packet, limit: 1, memory: memory.addressMap.view, headerLength: NetHeader.length(for: features))
      if taken == 1 {
        rings.transmit.complete(packet, first: 0, count: 1)
        return true
      }
      usleep(50)
    }
    return false
  }

  /// Waits for a buffer and fills it, unless it ends before.
  private func give(_ packet: PacketBurst, _ rings: inout Rings) {
    packet.rearm()
    while !isEnding.load(ordering: .relaxed) {
      let given = rings.receive.enqueueBurst(
        from: packet, first: 0, memory: memory.addressMap.view, headerLength: NetHeader.length(for: features),
        mergeable: features.contains(.netMergeableBuffers))
      if given == 1 { return }
      usleep(50)
    }
  }
}
