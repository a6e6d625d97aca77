internal import Virtio

/// The driver's side of a ring; its peer is a device that writes what it likes.
final class DriverRingTarget: FuzzTarget {
  private let memories: [FuzzMemory]
  private let list = StoreList()
  private let adversary: Adversary?

  /// - Parameter isRacing: Whether the device writes from another thread while the driver is at work.
  init(isRacing: Bool) throws {
    memories = try FuzzMemory.all()
    adversary = isRacing ? try Adversary.make(memories: memories) : nil
  }

  func run(_ input: FuzzInput) {
    let number = FuzzMemory.choice(input.layout)
    let memory = memories[number]
    memory.reset()
    list.clear()
    let place = RingPlacement(input, in: memory)
    guard let ring = place.driverMemory(memory.view) else { return }
    var device = DeviceWrites(place, in: memory)
    guard let adversary else {
      var run = DriverRingRun(ring, place, memory, input, isAlone: true)
      Script.play(input, on: memory, list) { record in
        device.outstanding = run.published
        device.write(record, to: list)
      } step: {
        run.step($0)
      }
      return
    }
    adversary.write(to: number) { list in
      for record in Script.writes(input) { device.write(record, to: list) }
    }
    let steps = Script.steps(input)
    for _ in 0...input.rounds % 32 {
      var run = DriverRingRun(ring, place, memory, input, isAlone: false)
      for step in steps.isEmpty ? DriverRingRun.defaultSteps : steps { run.step(step) }
    }
    memory.requireUntouched()
  }
}
