internal import Virtio

extension FuzzMemory {
  /// The memories that an input chooses from, made once.
  ///
  /// Regions end where a ring's used part can be flush with the end, at the end of a page, and at odd places.
  ///
  /// - Parameter isWritable: Whether a device may write to all of it, as it may to a guest's memory without an IOMMU.
  static func all(isWritable: Bool = false) throws -> [FuzzMemory] {
    [
      // One region, which ends inside of a page.
      try FuzzMemory([Place(start: 0x1_0000, size: 0x5ff2)]),
      // Two that are adjacent for the guest and apart in this process; the second has no good alignment.
      try FuzzMemory([Place(start: 0x1_0000, size: 0x4000), Place(start: 0x1_4000, size: 0x1000 - 37, lead: 9)]),
      // Adjacent ones, one that may only be read, and one that ends at the last address that a region can have.
      try FuzzMemory([
        Place(start: 0x1_0000, size: 0x3002, lead: 16), Place(start: 0x1_3002, size: 0x0ffe),
        Place(start: 0x1_4000, size: 0x1000, access: isWritable ? .readWrite : .read),
        Place(start: 0xffff_ffff_ffff_e000, size: 0x1fff),
      ]),
      // Room for the largest rings and packets.
      try FuzzMemory([
        Place(start: 0x10_0000, size: 0xe_0000), Place(start: 0x1e_0000, size: 0x2_0000),
        Place(start: 0x4000_0000, size: 0x1_0000 + 30),
      ]),
    ]
  }

  /// Which of the memories a byte of the input chooses: rarely the large one, which takes the most time.
  static func choice(_ layout: UInt8) -> Int { layout == 3 || layout > 240 ? 3 : Int(layout) % 3 }

  /// The address that sixteen bits of a record stand for: one of eight places and up to 4096 bytes before or behind it.
  func address(_ code: UInt16, ring: RingPlacement) -> UInt64 {
    let distance = UInt64(bitPattern: Int64(code & 0x1fff) - 0x1000)
    let second = places[1 % places.count]
    let anchor: UInt64 =
      switch code >> 13 {
      case 0: places[0].start + min(places[0].size / 2, 0x8_0000)
      case 1: places[0].end
      case 2: second.start
      case 3: second.end
      case 4: places[2 % places.count].start
      case 5: places[places.count - 1].end
      case 6: ring.parts[0]
      default: 0
      }
    return anchor &+ distance
  }

  /// The sixteen bits of a place and a distance from it, −4096 to 4095 bytes.
  static func code(anchor: Int, _ distance: Int) -> UInt16 { UInt16(anchor << 13 | (distance + 0x1000) & 0x1fff) }
}
