import Testing

@testable import Virtio

@Suite struct SplitRingAreaTests {
  @Test func sizes() throws {
    for size in [1, 2, 4, 256, 32768] {
      let layout = try RingLayout(.split, size: size)
      #expect(layout.size == size && layout.descriptorBytes == 16 * size)
      #expect(layout.availBytes == 6 + 2 * size && layout.usedBytes == 6 + 8 * size)
    }
    for size in [Int.min, -4, -1, 0, 3, 5, 255, 32767, 32769, 65535, 65536, 65537, 0x1_0000_0000, Int.max] {
      let error = #expect(throws: VirtioError.self) { _ = try RingLayout(.split, size: size) }
      #expect(error?.code == .badRingSize && error?.description.contains("\(size)") == true)
    }
  }

  @Test func addresses() throws {
    let memory = try TestMemory([
      .init(start: 0x1_0000, size: 4096), .init(start: 0x1_1000, size: 4096), .init(start: 0x3_0008, size: 4088),
    ])
    func isAccepted(_ descriptor: UInt64, _ avail: UInt64, _ used: UInt64) throws -> Bool {
      let layout = try RingLayout(.split, size: 4)
      do throws(VirtioError) {
        _ = try SplitRingArea(size: layout.size, descriptor: descriptor, avail: avail, used: used, memory: memory.view)
        return true
      } catch {
        #expect(error.code == .badRingAddress)
        return false
      }
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
}
