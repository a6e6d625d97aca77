internal import Virtio

/// Where the parts of the ring under test are: descriptors, what else the driver writes, what else the device writes.
struct RingPlacement {
  let format: RingLayout.Format
  let size: Int
  /// The position from which both sides go on.
  let first: UInt16
  /// Guest addresses: of the descriptors, the driver area and the device area.
  let parts: [UInt64]
  /// Their lengths in bytes.
  let lengths: [Int]

  /// The ring that an input describes. It may lie where no ring may be.
  init(_ input: FuzzInput, in memory: FuzzMemory) {
    let isPacked = input.bits.contains(.packed)
    format = isPacked ? .packed : .split
    size = input.ringSize
    first =
      !isPacked || input.places[0] & 8 != 0
      ? input.position : UInt16(Int(input.position & 0x7fff) % max(size, 1)) | input.position & 0x8000
    lengths = isPacked ? [16 * size, 4, 4] : [16 * size, 6 + 2 * size, 6 + 8 * size]
    let alignments: [UInt64] = [16, isPacked ? 4 : 2, 4]
    var next = memory.places[0].start
    var parts: [UInt64] = []
    for i in 0..<3 {
      let length = UInt64(lengths[i])
      let code = input.places[i]
      let place = memory.places[Int(code >> 4) % memory.places.count]
      let last = (place.end &- length) & ~(alignments[i] - 1)
      let address: UInt64 =
        switch code & 7 {
        // Flush with the end of a region, as far as its alignment allows, and a little behind that.
        case 1: last
        case 2: last &+ alignments[i]
        case 3: place.start
        case 4: place.start &+ UInt64(input.placeOffset)
        default: next
        }
      parts.append(address)
      next = (address &+ length &+ 15) & ~15
    }
    self.parts = parts
  }

  func descriptor(_ index: Int) -> UInt64 { parts[0] &+ UInt64(index &* 16) }
  /// Where a descriptor has its flags.
  var flagsOffset: UInt64 { format == .split ? 12 : 14 }

  // MARK: Split

  var availFlags: UInt64 { parts[1] }
  var availIndex: UInt64 { parts[1] &+ 2 }
  func availHead(_ position: UInt16) -> UInt64 { parts[1] &+ 4 &+ UInt64(index(position) * 2) }
  var usedEvent: UInt64 { parts[1] &+ 4 &+ UInt64(size * 2) }
  var usedFlags: UInt64 { parts[2] }
  var usedIndex: UInt64 { parts[2] &+ 2 }
  func usedEntry(_ position: UInt16) -> UInt64 { parts[2] &+ 4 &+ UInt64(index(position) * 8) }
  var availEvent: UInt64 { parts[2] &+ 4 &+ UInt64(size * 8) }

  // MARK: Packed

  var driverEvent: UInt64 { parts[1] }
  var deviceEvent: UInt64 { parts[2] }

  /// The bits that say that a descriptor is available (virtio 1.2, §2.8.1).
  static func availFlags(_ position: UInt16) -> UInt16 { position & 0x8000 != 0 ? 0x0080 : 0x8000 }
  /// The bits that say that it is used.
  static func usedFlags(_ position: UInt16) -> UInt16 { position & 0x8000 != 0 ? 0x8080 : 0 }

  // MARK: Positions

  /// Where a position is in the ring.
  func index(_ position: UInt16) -> Int {
    guard format == .packed else { return size == 0 ? 0 : Int(position) % size }
    return Int(position & 0x7fff) < size ? Int(position & 0x7fff) : 0
  }

  /// The position behind a chain of so many descriptors.
  func advance(_ position: UInt16, by descriptors: Int) -> UInt16 {
    guard format == .packed else { return position &+ 1 }
    let next = index(position) + descriptors
    let wrap = position & 0x8000
    return next < size ? UInt16(next) | wrap : UInt16(truncatingIfNeeded: next - size) | wrap ^ 0x8000
  }

  // MARK: As walkers see it

  /// The ring's memory as a device gets it, nil when it is refused.
  func memory(_ view: MemoryView) -> RingMemory? {
    guard let layout = try? RingLayout(format, size: size) else { return nil }
    return try? RingMemory(layout, descriptor: parts[0], avail: parts[1], used: parts[2], memory: view)
  }

  /// The ring's memory as a driver gets it: one that it may write to.
  func driverMemory(_ view: MemoryView) -> RingMemory? {
    var view = view
    for i in 0..<2 where !view.covers(parts[i], length: UInt64(lengths[i]), for: .write) { return nil }
    return memory(view)
  }
}
