internal import Virtio

/// The driver's side of a ring; its peer is a device that writes what it likes.
final class DriverRingTarget: FuzzTarget {
  private let memories: [FuzzMemory]
  private let list = StoreList()
  private let adversary: Adversary?

  /// - Parameter isRacing: Whether the device writes from another thread while the driver is at work.
  init(isRacing: Bool) throws {
    memories = try FuzzMemory.all()
    adversary = isRacing ? try Adversary.make(list, memories: memories) : nil
  }

  func run(_ input: FuzzInput) {
    let number = FuzzMemory.choice(input.layout)
    let memory = memories[number]
    memory.reset()
    list.clear()
    let place = RingPlacement(input, in: memory)
    guard let area = place.driverArea(memory.view) else { return }
    var device = DeviceWrites(place, in: memory)
    if let adversary {
      var steps: [Record] = []
      for record in input.records {
        if record.isStep { steps.append(record) } else { device.write(record, to: list) }
      }
      if steps.isEmpty { steps = DriverRingRun.defaultSteps }
      adversary.start(on: number)
      for _ in 0...input.rounds % 32 {
        var run = DriverRingRun(area: area, place: place, memory: memory, isAlone: false)
        for step in steps { run.step(step) }
      }
      adversary.stop()
      memory.requireUntouched()
    } else {
      var run = DriverRingRun(area: area, place: place, memory: memory, isAlone: true)
      var applied = 0
      for record in input.records {
        if record.isStep {
          run.step(record)
          continue
        }
        device.outstanding = run.heads
        device.write(record, to: list)
        while applied < list.count {
          memory.applyNoted(list[applied])
          applied += 1
        }
      }
    }
  }
}
