import Testing

@testable import Virtio

/// Where the parts of a ring may be: aligned, each inside one region, with the access that the device needs
/// (CVE-2018-1059).
@Suite struct RingMemoryTests {
  static let places: [TestMemory.Place] = [
    .init(start: 0x1_0000, size: 4096), .init(start: 0x1_1000, size: 4096), .init(start: 0x3_0008, size: 4088),
  ]

  private func isAccepted(
    _ format: RingLayout.Format, _ view: MemoryView, _ descriptor: UInt64, _ avail: UInt64, _ used: UInt64
  ) throws -> Bool {
    do throws(VirtioError) {
      let memory = try RingMemory(
        RingLayout(format, size: 4), descriptor: descriptor, avail: avail, used: used, memory: view)
      #expect(memory.size == 4 && memory.start == (format == .split ? 0 : 0x8000))
      return true
    } catch {
      #expect(error.code == .badRingAddress && error.description.contains("0x"))
      return false
    }
  }

  @Test("Going back over a chain leads to where it began, over the ring's end too", arguments: [1, 2, 3, 5, 8])
  func retreat(size: Int) throws {
    let memory = try TestMemory(Self.places)
    let packed = try PackedRingArea(
      size: size, descriptor: 0x1_0000, driverEvent: 0x1_1000, deviceEvent: 0x1_1004, memory: memory.view)
    for index in 0..<UInt16(size) {
      for position in [index, index | PackedRingArea.wrapCounter] {
        for length in 0...size { #expect(packed.retreat(packed.advance(position, by: length), by: length) == position) }
      }
    }
    let split = try SplitRingArea(size: 8, descriptor: 0x1_0000, avail: 0x1_1000, used: 0x1_1020, memory: memory.view)
    for position in [0, 1, 0x7fff, .max] as [UInt16] {
      #expect(split.retreat(split.advance(position, by: size), by: size) == position)
    }
  }

  @Test func splitAddresses() throws {
    let memory = try TestMemory(Self.places)
    func isAccepted(_ descriptor: UInt64, _ avail: UInt64, _ used: UInt64) throws -> Bool {
      try self.isAccepted(.split, memory.view, descriptor, avail, used)
    }
    #expect(try isAccepted(0x1_0000, 0x1_0040, 0x1_0050))
    #expect(try isAccepted(0x1_1fc0, 0x1_1ff2, 0x1_0fd8), "each part ends where its region does")
    for bad in [0x1_0008, 0x1_0001, 0x1_0fd0, 0x1_1fd0, 0xfff0, 0x1_2000, 0, 0xffff_ffff_ffff_fff0, 0x3_0010]
      as [UInt64]
    {
      #expect(try !isAccepted(bad, 0x1_0040, 0x1_0050), "descriptors at \(bad)")
    }
    for bad in [0x1_0041, 0x1_0ff4, 0x1_1ff4, 0x1_2000, 0, 0xffff_ffff_ffff_fffe] as [UInt64] {
      #expect(try !isAccepted(0x1_0000, bad, 0x1_0050), "available ring at \(bad)")
    }
    for bad in [0x1_0052, 0x1_0051, 0x1_0fe0, 0x1_1fdc, 0x1_2000, 0, 0xffff_ffff_ffff_fffc] as [UInt64] {
      #expect(try !isAccepted(0x1_0000, 0x1_0040, bad), "used ring at \(bad)")
    }
  }

  @Test func packedAddresses() throws {
    let memory = try TestMemory(Self.places)
    func isAccepted(_ descriptor: UInt64, _ avail: UInt64, _ used: UInt64) throws -> Bool {
      try self.isAccepted(.packed, memory.view, descriptor, avail, used)
    }
    #expect(try isAccepted(0x1_0000, 0x1_0040, 0x1_0044))
    #expect(try isAccepted(0x1_1fc0, 0x1_0ffc, 0x1_1ffc), "each part ends where its region does")
    for bad in [0x1_0008, 0x1_0001, 0x1_0fd0, 0x1_1fd0, 0xfff0, 0x1_2000, 0, 0xffff_ffff_ffff_fff0, 0x3_0010]
      as [UInt64]
    {
      #expect(try !isAccepted(bad, 0x1_0040, 0x1_0044), "descriptors at \(bad)")
    }
    for bad in [0x1_0041, 0x1_0042, 0x1_0ffe, 0x1_2000, 0xfffe, 0, 0xffff_ffff_ffff_fffc] as [UInt64] {
      #expect(try !isAccepted(0x1_0000, bad, 0x1_0044), "driver event suppression at \(bad)")
      #expect(try !isAccepted(0x1_0000, 0x1_0040, bad), "device event suppression at \(bad)")
    }
  }

  /// The device reads what the driver writes, and needs to write only its own part; of a packed ring, the descriptors
  /// too.
  @Test(arguments: RingLayout.Format.allCases) func permissions(_ format: RingLayout.Format) throws {
    let memory = try TestMemory((1...3).map { .init(start: $0 << 16, size: 4096) })
    let ranges = memory.guest.addressMap.ranges
    let map = try AddressMap(ranges: [ranges[0], ranges[1].limited(to: .read), ranges[2].limited(to: .write)])
    func isAccepted(_ descriptor: UInt64, _ avail: UInt64, _ used: UInt64) throws -> Bool {
      try self.isAccepted(format, map.view, descriptor, avail, used)
    }
    #expect(try isAccepted(0x1_0000, 0x2_0100, 0x1_0200))
    #expect(try isAccepted(0x2_0000, 0x2_0100, 0x1_0200) == (format == .split))
    #expect(try !isAccepted(0x1_0000, 0x1_0100, 0x2_0200))
    for part in 0..<3 {
      let at = (0..<3).map { (part == $0 ? 0x3_0000 : 0x1_0000) + UInt64($0) * 0x100 }
      // Write-only memory is enough for nothing: positions in it are read when a ring is taken over.
      #expect(try !isAccepted(at[0], at[1], at[2]), "part \(part)")
    }
    withExtendedLifetime(map) {}
  }
}
