internal import VDPA
internal import Virtio

@testable internal import Datapath

/// A queue that is served chain by chain, with a device that does what an input says; its peer is a driver that writes
/// what it likes.
final class ChainTarget: FuzzTarget {
  private let memories: [FuzzMemory]
  private let list = StoreList()
  private let adversary: Adversary?
  private let device: any ChainDevice
  private let queue: ChainQueue
  private let burst = PacketBurst()
  private let observer = SilentObserver()

  private struct SilentObserver: DeviceObserver {
    func deviceReports(_ report: DeviceReport) {}
  }

  /// What a record with the walker's bit stands for: with an odd number the queue is served, with any other the device
  /// takes a step.
  static let serve: UInt8 = Record.walker | 1
  static let act: UInt8 = Record.walker

  /// - Parameters:
  ///   - device: What serves the chains.
  ///   - isRacing: Whether the driver writes from another thread while the queue is served.
  init(_ device: any ChainDevice, isRacing: Bool) throws {
    // A queue works on guest memory itself, all of which a device may write.
    memories = try FuzzMemory.all(isWritable: true)
    adversary = isRacing ? try Adversary.make(memories: memories) : nil
    self.device = device
    // It never gets to serve anything: this is done here.
    let worker = try Worker(name: "paused", mode: .poll, cpu: nil)
    worker.pause()
    queue = try ChainQueue(name: "queue", index: 0, device: device, worker: worker)
  }

  func run(_ input: FuzzInput) {
    let number = FuzzMemory.choice(input.layout)
    let memory = memories[number]
    memory.reset()
    list.clear()
    let place = RingPlacement(input, in: memory)
    var driver = DriverWrites(place, in: memory)
    device.begin(input)
    guard let adversary else {
      guard start(place, memory, input, at: place.first) else { return }
      driver.begin(lag: 0, on: list)
      Script.play(
        input, on: memory, list, write: { driver.write($0, to: list) }, step: { step($0, place, memory) })
      return stop(place, memory)
    }
    adversary.write(to: number) { list in
      driver.begin(lag: 0, on: list)
      for record in Script.writes(input) { driver.write(record, to: list) }
    }
    let steps = Script.steps(input)
    let size = max(place.size, 1)
    for round in 0...input.rounds % 32 {
      // Wherever the driver happens to be.
      let position =
        place.format == .split
        ? memory.load(place.availIndex) &- UInt16(Int(input.lag) % (2 * size))
        : place.advance(place.first ^ UInt16(round & 1) << 15, by: Int(input.lag) % size)
      guard start(place, memory, input, at: position) else { return }
      for step in steps { self.step(step, place, nil) }
      if steps.isEmpty { serve(place, nil, isPolled: true) }
      stop(place, nil)
    }
    memory.requireUntouched()
  }

  /// False when there is no such ring.
  private func start(_ place: RingPlacement, _ memory: FuzzMemory, _ input: FuzzInput, at position: UInt16) -> Bool {
    do {
      try queue.start(
        DeviceSetup.Vring(ChainTarget.description(place, at: position), isEnabled: true),
        features: input.features, memory: memory.guest, log: input.bits.contains(.logged) ? memory.log : nil,
        observer: observer)
      return true
    } catch {
      return false
    }
  }

  private func step(_ r: Record, _ place: RingPlacement, _ alone: FuzzMemory?) {
    if r.kind & 1 == 1 {
      serve(place, alone, isPolled: r.a & 1 == 0)
    } else {
      device.step(r, in: alone)
      alone?.requireUnchanged(after: "the device")
    }
  }

  private func serve(_ place: RingPlacement, _ alone: FuzzMemory?, isPolled: Bool) {
    device.willServe(alone.flatMap { WritableBuffers(place, $0) })
    _ = Oracle.bounded("serve") { queue.serve(burst, isPolled: isPolled) }
    guard let alone else { return }
    switch place.format {
    case .split:
      alone.allow(place.parts[2], UInt64(place.lengths[2]))
    case .packed:
      for i in 0..<place.size { alone.allow(place.descriptor(i) &+ 8, 8) }
      alone.allow(place.deviceEvent, 4)
    }
    device.served(in: alone)
    alone.requireUnchanged(after: "the queue")
  }

  /// Lets all chains come back, while none is fetched, and stops the ring.
  private func stop(_ place: RingPlacement, _ alone: FuzzMemory?) {
    do {
      _ = try queue.update(ChainTarget.description(place, at: 0), enabled: false)
      device.finish()
      if let alone { device.served(in: alone) }
      serve(place, alone, isPolled: true)
      _ = try queue.stop()
    } catch {
      Oracle.fail("the queue does not stop: \(error)")
    }
  }

  private static func description(_ place: RingPlacement, at position: UInt16) -> VringDescription {
    VringDescription(
      index: 0, size: place.size, descriptor: place.parts[0], avail: place.parts[1], used: place.parts[2],
      state: VringState(index: 0, nextAvail: position, nextUsed: position), logAddress: place.parts[2])
  }
}
