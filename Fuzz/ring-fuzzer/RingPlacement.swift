internal import Virtio

/// Where the parts of the ring under test are: descriptors, what else the driver writes, what the device writes.
struct RingPlacement {
  let size: Int
  /// Guest addresses: descriptor table, available ring, used ring.
  private(set) var parts: [UInt64] = []
  /// Their lengths in bytes.
  let lengths: [Int]

  /// The ring that an input describes. It may lie where no ring may be.
  init(_ input: FuzzInput, in memory: FuzzMemory) {
    size = input.ringSize
    lengths = [16 * size, 6 + 2 * size, 6 + 8 * size]
    var next = memory.places[0].start
    for i in 0..<3 {
      let alignment: UInt64 = [16, 2, 4][i]
      let length = UInt64(lengths[i])
      let code = input.places[i]
      let place = memory.places[Int(code >> 4) % memory.places.count]
      let address: UInt64 =
        switch code & 7 {
        // Flush with the end of a region, as far as its alignment allows.
        case 1: (place.end &- length) & ~(alignment - 1)
        // A little behind that.
        case 2: ((place.end &- length) & ~(alignment - 1)) &+ alignment
        case 3: place.start
        case 4: place.start &+ UInt64(input.placeOffset)
        default: next
        }
      parts.append(address)
      next = (address &+ length &+ 15) & ~15
    }
  }

  func descriptor(_ index: Int) -> UInt64 { parts[0] &+ UInt64(index &* 16) }
  var availFlags: UInt64 { parts[1] }
  var availIndex: UInt64 { parts[1] &+ 2 }
  func availHead(_ position: UInt16) -> UInt64 { parts[1] &+ 4 &+ UInt64(slot(position) * 2) }
  var usedEvent: UInt64 { parts[1] &+ 4 &+ UInt64(size * 2) }
  var usedFlags: UInt64 { parts[2] }
  var usedIndex: UInt64 { parts[2] &+ 2 }
  func usedEntry(_ position: UInt16) -> UInt64 { parts[2] &+ 4 &+ UInt64(slot(position) * 8) }
  var availEvent: UInt64 { parts[2] &+ 4 &+ UInt64(size * 8) }

  private func slot(_ position: UInt16) -> Int { size == 0 ? 0 : Int(position) % size }

  /// The ring's memory as a device gets it, nil when it is refused.
  func area(_ view: MemoryView) -> SplitRingArea? {
    guard let layout = try? SplitRingLayout(size: size) else { return nil }
    return try? SplitRingArea(layout: layout, descriptor: parts[0], avail: parts[1], used: parts[2], memory: view)
  }

  /// The ring's memory as a driver gets it: one that it may write to.
  func driverArea(_ view: MemoryView) -> SplitRingArea? {
    var view = view
    for i in 0..<2 where !view.covers(parts[i], length: UInt64(lengths[i]), for: .write) { return nil }
    return area(view)
  }
}
