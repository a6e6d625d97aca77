internal import Virtio

/// The device's side of a ring; its peer is a driver that writes what it likes.
final class DeviceRingTarget: FuzzTarget {
  /// The bursts of one ring.
  struct Bursts {
    let incoming: PacketBurst
    let outgoing: PacketBurst
  }

  private let memories: [FuzzMemory]
  private let list = StoreList()
  private let adversary: Adversary?
  private let arenas = Bursts(incoming: PacketBurst(), outgoing: PacketBurst())
  private let pooled: Bursts

  /// - Parameter isRacing: Whether the driver writes from another thread while the device is at work.
  init(isRacing: Bool) throws {
    memories = try FuzzMemory.all()
    adversary = isRacing ? try Adversary.make(list, memories: memories) : nil
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
    var driver = DriverWrites(place, in: memory)
    driver.begin(lag: input.lag, on: list)
    guard let ring = place.memory(memory.view) else { return }
    var run = DeviceRingRun(ring, place, memory, input, bursts, isAlone: adversary == nil)
    guard let adversary else {
      Script.play(input, on: memory, list, write: { driver.write($0, to: list) }, step: { run.step($0) })
      return
    }
    // Everything that the driver ever writes is written over and over while all the device's steps are taken again and
    // again, on a ring that starts anew wherever the driver happens to be.
    let steps = Script.split(input) { driver.write($0, to: list) }
    adversary.start(on: number)
    for round in 0...input.rounds % 32 {
      run.restart(behind: input.lag, round: round)
      for step in steps.isEmpty ? DeviceRingRun.defaultSteps : steps { run.step(step) }
    }
    adversary.stop()
    memory.requireUntouched()
  }
}
