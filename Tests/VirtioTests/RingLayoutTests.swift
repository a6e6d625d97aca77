import Testing

@testable import Virtio

@Suite struct RingLayoutTests {
  @Test func splitSizes() throws {
    for size in [1, 2, 4, 256, 32768] {
      let layout = try RingLayout(.split, size: size)
      #expect(layout.size == size && layout.descriptorBytes == 16 * size)
      #expect(layout.availBytes == 6 + 2 * size && layout.usedBytes == 6 + 8 * size)
    }
    for size in [3, 5, 6, 255, 257, 32767] { try expectRefused(.split, size) }
  }

  @Test func packedSizes() throws {
    for size in [1, 2, 3, 5, 255, 256, 257, 32767, 32768] {
      let layout = try RingLayout(.packed, size: size)
      #expect(layout.size == size && layout.descriptorBytes == 16 * size)
      #expect(layout.availBytes == 4 && layout.usedBytes == 4)
    }
  }

  @Test(arguments: RingLayout.Format.allCases) func sizesOfNoFormat(_ format: RingLayout.Format) throws {
    for size in [Int.min, -4, -1, 0, 32769, 65535, 65536, 65537, 0x1_0000_0000, Int.max] {
      try expectRefused(format, size)
    }
  }

  private func expectRefused(_ format: RingLayout.Format, _ size: Int) throws {
    let error = #expect(throws: VirtioError.self) { _ = try RingLayout(format, size: size) }
    #expect(error?.code == .badRingSize && error?.description.contains("\(size)") == true)
  }

  @Test func formatFollowsFeatures() {
    #expect(RingLayout.Format(for: []) == .split)
    #expect(RingLayout.Format(for: [.version1, .eventIndex, .indirectDescriptors, .inOrder]) == .split)
    #expect(RingLayout.Format(for: [.version1, .packedRing]) == .packed)
  }
}
