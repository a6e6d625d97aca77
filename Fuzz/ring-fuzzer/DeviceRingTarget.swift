internal import Virtio

/// The device's side of a ring; its peer is a driver that writes what it likes.
final class DeviceRingTarget: FuzzTarget {
  private let memories: [FuzzMemory]
  private let list = StoreList()
  private let adversary: Adversary?
  private let incoming = PacketBurst()
  private let outgoing = PacketBurst()

  /// - Parameter isRacing: Whether the driver writes from another thread while the device is at work.
  init(isRacing: Bool) throws {
    memories = try FuzzMemory.all()
    adversary = isRacing ? try Adversary.make(list, memories: memories) : nil
  }

  func run(_ input: FuzzInput) {
    let number = FuzzMemory.choice(input.layout)
    let memory = memories[number]
    memory.reset()
    list.clear()
    incoming.clear()
    let place = RingPlacement(input, in: memory)
    var driver = DriverWrites(place, in: memory, first: input.position)
    driver.begin(lag: input.lag, on: list)
    guard let area = place.area(memory.view) else { return }
    var run = DeviceRingRun(
      area: area, place: place, memory: memory, input: input, incoming: incoming, outgoing: outgoing,
      isAlone: adversary == nil)
    if let adversary {
      race(input, &driver, &run, adversary, number)
      memory.requireUntouched()
    } else {
      var applied = 0
      func apply() {
        while applied < list.count {
          memory.applyNoted(list[applied])
          applied += 1
        }
      }
      apply()
      for record in input.records {
        if record.isStep {
          run.step(record)
        } else {
          driver.write(record, to: list)
          apply()
        }
      }
    }
  }

  /// Everything that the driver ever writes is written over and over while all the device's steps are taken again and
  /// again, on a ring that starts anew wherever the driver happens to be.
  private func race(
    _ input: FuzzInput, _ driver: inout DriverWrites, _ run: inout DeviceRingRun, _ adversary: Adversary,
    _ number: Int
  ) {
    var steps: [Record] = []
    for record in input.records {
      if record.isStep { steps.append(record) } else { driver.write(record, to: list) }
    }
    if steps.isEmpty { steps = DeviceRingRun.defaultSteps }
    adversary.start(on: number)
    for _ in 0...input.rounds % 32 {
      run.restart(behind: input.lag)
      for step in steps { run.step(step) }
    }
    adversary.stop()
  }
}
