internal import Virtio

/// The device's side of a ring; its peer is a driver that writes what it likes.
final class DeviceRingTarget: FuzzTarget {
  /// What a ring is emptied into and filled from.
  struct Bursts {
    let incoming: PacketBurst
    let outgoing: PacketBurst
    let segments = SegmentList()
  }

  private let memories: [FuzzMemory]
  private let list = StoreList()
  private let adversary: Adversary?
  private let arenas = Bursts(incoming: PacketBurst(), outgoing: PacketBurst())
  private let pooled: Bursts

  /// - Parameter isRacing: Whether the driver writes from another thread while the device is at work.
  init(isRacing: Bool) throws {
    memories = try FuzzMemory.all()
    adversary = isRacing ? try Adversary.make(memories: memories) : nil
    // So few that a burst may find none left.
    let pool = try PacketPool(count: 40, payloadLength: 2000)
    pooled = Bursts(incoming: PacketBurst(pool), outgoing: PacketBurst(pool))
  }

  func run(_ input: FuzzInput) {
    let number = FuzzMemory.choice(input.layout)
    let memory = memories[number]
    memory.reset()
    list.clear()
    let bursts = input.bits.contains(.pool) ? pooled : arenas
    bursts.incoming.clear()
    bursts.outgoing.clear()
    let place = RingPlacement(input, in: memory)
    guard let ring = place.memory(memory.view) else { return }
    var driver = DriverWrites(place, in: memory)
    var run = DeviceRingRun(ring, place, memory, input, bursts, isAlone: adversary == nil)
    guard let adversary else {
      driver.begin(lag: input.lag, on: list)
      Script.play(input, on: memory, list, write: { driver.write($0, to: list) }, step: { run.step($0) })
      return
    }
    // Everything that the driver ever writes is written over and over while all the device's steps are taken again and
    // again, on a ring that starts anew wherever the driver happens to be.
    adversary.write(to: number) { list in
      driver.begin(lag: input.lag, on: list)
      for record in Script.writes(input) { driver.write(record, to: list) }
    }
    let steps = Script.steps(input)
    for round in 0...input.rounds % 32 {
      run.restart(behind: input.lag, round: round)
      for step in steps.isEmpty ? DeviceRingRun.defaultSteps : steps { run.step(step) }
    }
    memory.requireUntouched()
  }
}
