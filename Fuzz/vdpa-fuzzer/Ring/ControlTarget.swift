internal import CLinux
internal import Virtio

/// A walker without checks, in guest memory like that of the others: if the fuzzer does not find this one out, it finds out
/// none.
final class ControlTarget: FuzzTarget {
  private let memories: [FuzzMemory]
  private let list = StoreList()
  private let buffer = PacketBurst()

  init() throws { memories = try FuzzMemory.all() }

  func run(_ input: FuzzInput) {
    let memory = memories[FuzzMemory.choice(input.layout)]
    memory.reset()
    list.clear()
    let place = RingPlacement(input, in: memory)
    guard place.memory(memory.view) != nil else { return }
    var driver = DriverWrites(place, in: memory)
    for record in input.records where !record.isStep { driver.write(record, to: list) }
    for i in 0..<list.count { memory.applyNoted(list[i]) }
    for i in 0..<place.size {
      let length: UInt32 = memory.load(place.descriptor(i) &+ 8)
      var view = memory.view
      // The start is looked up, the length is believed.
      guard length > 0,
        let start = unsafe view.contiguous(at: memory.load(place.descriptor(i)), length: 1, for: .read)
      else { continue }
      _ = unsafe clinux_load_u16(start + Int(length) - 1)
    }
  }
}
