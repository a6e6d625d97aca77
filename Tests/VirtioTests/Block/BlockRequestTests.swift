import Testing

@testable import Virtio

@Suite struct BlockRequestTests {
  @Test("A header is a type, four bytes that mean nothing, and a sector, little-endian")
  func layout() throws {
    let bytes: [UInt8] = [1, 2, 3, 4, 0xff, 0xfe, 0xfd, 0xfc, 8, 7, 6, 5, 4, 3, 2, 1]
    let request = try #require(BlockRequest(decoding: bytes + [9]))
    #expect(request.kind.rawValue == 0x0403_0201 && request.sector == 0x0102_0304_0506_0708)
    var reserved = bytes
    for i in 4..<8 { reserved[i] = 0 }
    #expect(request.encoded == reserved)
    for count in 0..<BlockRequest.headerLength { #expect(BlockRequest(decoding: Array(bytes.prefix(count))) == nil) }
    #expect(BlockRequest(decoding: Array(repeating: 0xff, count: 16))?.sector == .max)
  }

  @Test(
    "Each kind has the standard's number and name",
    arguments: [
      (.read, 0, "IN"), (.write, 1, "OUT"), (.flush, 4, "FLUSH"), (.getID, 8, "GET_ID"),
      (.getLifetime, 10, "GET_LIFETIME"), (.discard, 11, "DISCARD"), (.writeZeroes, 13, "WRITE_ZEROES"),
      (.secureErase, 14, "SECURE_ERASE"), (BlockRequest.Kind(rawValue: 2), 2, "request type 2"),
    ] as [(BlockRequest.Kind, UInt32, String)])
  func kinds(kind: BlockRequest.Kind, number: UInt32, name: String) {
    #expect(kind.rawValue == number && kind.description == name)
    #expect(BlockRequest(kind, sector: 7).description == "\(name) of sector 7")
    #expect(BlockRequest(decoding: BlockRequest(kind, sector: 7).encoded) == BlockRequest(kind, sector: 7))
  }

  @Test("A status is one byte with the standard's number and name")
  func statuses() {
    let expected: [(BlockStatus, UInt8, String)] = [
      (.ok, 0, "OK"), (.ioError, 1, "IOERR"), (.unsupported, 2, "UNSUPP"),
      (BlockStatus(rawValue: 255), 255, "status 255"),
    ]
    for (status, number, name) in expected { #expect(status.rawValue == number && status.description == name) }
  }

  @Test("A segment is a sector, a count and flags, little-endian, at any offset")
  func segments() throws {
    let bytes: [UInt8] = [8, 7, 6, 5, 4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11, 0x81, 0, 0, 0x80]
    let segment = BlockSegment(
      sector: 0x0102_0304_0506_0708, count: 0x1112_1314, flags: BlockSegment.Flags(rawValue: 0x8000_0081))
    #expect(segment.encoded == bytes && segment.encoded.count == BlockSegment.byteCount)
    for offset in 0..<20 {
      let shifted = Array(repeating: UInt8(0xee), count: offset) + bytes
      #expect(BlockSegment(decoding: shifted, at: offset) == segment)
      #expect(BlockSegment(decoding: shifted, at: offset + 1) == nil)
    }
    for offset in [Int.min, -1, 17, Int.max] { #expect(BlockSegment(decoding: bytes, at: offset) == nil) }
    #expect(BlockSegment.Flags.unmap.rawValue == 1)
  }
}
