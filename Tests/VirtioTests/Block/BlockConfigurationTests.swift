import Testing

@testable import Virtio

@Suite struct BlockConfigurationTests {
  /// A configuration whose bytes are their own offsets, padding aside.
  private static var numbered: [UInt8] {
    var bytes = (0..<60).map { UInt8($0) }
    for padding in [33, 57, 58, 59] { bytes[padding] = 0 }
    return bytes
  }

  @Test("Every field stands at the standard's offset, little-endian, with padding of zero")
  func layout() throws {
    let bytes = Self.numbered
    let configuration = try #require(BlockConfiguration(decoding: bytes))
    #expect(configuration.encoded == bytes)
    #expect(configuration.encoded.count == BlockConfiguration.byteCount)
    #expect(configuration.capacity == 0x0706_0504_0302_0100)
    #expect(configuration.sizeMax == 0x0b0a_0908 && configuration.segMax == 0x0f0e_0d0c)
    #expect(configuration.cylinders == 0x1110 && configuration.heads == 18 && configuration.sectors == 19)
    #expect(configuration.blockSize == 0x1716_1514)
    #expect(configuration.physicalBlockExponent == 24 && configuration.alignmentOffset == 25)
    #expect(configuration.minimumIOSize == 0x1b1a && configuration.optimalIOSize == 0x1f1e_1d1c)
    #expect(configuration.writeback == 32 && configuration.queueCount == 0x2322)
    #expect(configuration.maxDiscardSectors == 0x2726_2524 && configuration.maxDiscardSegments == 0x2b2a_2928)
    #expect(configuration.discardSectorAlignment == 0x2f2e_2d2c)
    #expect(configuration.maxWriteZeroesSectors == 0x3332_3130 && configuration.maxWriteZeroesSegments == 0x3736_3534)
    #expect(configuration.writeZeroesMayUnmap == 56)
  }

  @Test("Padding that is not zero is not kept")
  func padding() throws {
    let configuration = try #require(BlockConfiguration(decoding: (0..<60).map { UInt8($0) }))
    #expect(configuration.encoded == Self.numbered)
  }

  @Test("A space that ends early has zeroes behind its end, by whole fields; without a capacity there is none")
  func lengths() throws {
    let bytes = Self.numbered
    let ends = [8, 12, 16, 18, 19, 20, 24, 25, 26, 28, 32, 33, 36, 40, 44, 48, 52, 56, 57]
    for count in 0...80 {
      let given = Array((bytes + Array(repeating: 0xff, count: 20)).prefix(count))
      let decoded = BlockConfiguration(decoding: given)
      guard let whole = ends.last(where: { $0 <= count }) else {
        #expect(decoded == nil, "\(count) bytes")
        continue
      }
      let expected = bytes.prefix(whole) + Array(repeating: 0, count: 60 - whole)
      #expect(decoded?.encoded == Array(expected), "\(count) bytes")
    }
  }

  @Test("A configuration of a size alone has sectors for blocks and one queue")
  func defaults() {
    let usual = BlockConfiguration(capacity: 3)
    #expect(usual.capacity == 3 && usual.blockSize == 512 && usual.queueCount == 1)
    #expect(usual.encoded.enumerated().filter { $0.element != 0 }.map(\.offset) == [0, 21, 34])
    #expect(BlockConfiguration(decoding: usual.encoded) == usual)
  }
}
