import Testing
import VhostUser

/// What holds for every payload: its bytes are those of the specification, it survives a round trip, and one byte
/// more or less is refused.
struct PayloadTests {
  private let region = MemoryRegionPayload(
    guestAddress: 0x1122_3344_5566_7788, size: 0x1000, userAddress: 0x7fff_0000_0000, mapOffset: 0x2000)
  private var regionBytes: [UInt8] {
    u64(0x1122_3344_5566_7788) + u64(0x1000) + u64(0x7fff_0000_0000) + u64(0x2000)
  }

  private func check<P: Payload>(_ value: P, _ bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) throws
  {
    #expect(value.encoded == bytes, sourceLocation: sourceLocation)
    #expect(try P(decoding: bytes) == value, sourceLocation: sourceLocation)
    for length in 0..<bytes.count {
      let error = #expect(throws: VhostUserError.self, sourceLocation: sourceLocation) {
        try P(decoding: Array(bytes.prefix(length)))
      }
      #expect(error?.code == .malformed, sourceLocation: sourceLocation)
    }
    let error = #expect(throws: VhostUserError.self, sourceLocation: sourceLocation) { try P(decoding: bytes + [0]) }
    #expect(error?.code == .malformed, sourceLocation: sourceLocation)
  }

  @Test func header() throws {
    try check(MessageHeader(request: 12, flags: .needReply, size: 8), u32(12, 0b1001, 8))
    try check(MessageHeader(request: 12, flags: .reply, size: 8), u32(12, 5, 8))
  }

  @Test func vringState() throws {
    try check(VringStatePayload(index: 3, number: 0x8001_0002), u32(3, 0x8001_0002))
  }

  @Test func vringAddress() throws {
    try check(
      VringAddressPayload(
        index: 2, descriptor: 0x1000, used: 0x3000, available: 0x2000, log: 0x4000, logsUsedRing: true),
      u32(2, 1) + u64(0x1000) + u64(0x3000) + u64(0x2000) + u64(0x4000))
  }

  @Test func vringFile() throws {
    try check(VringFilePayload(index: 255, hasDescriptor: true), u64(0xff))
    try check(VringFilePayload(index: 7, hasDescriptor: false), u64(0x107))
  }

  @Test func memoryRegion() throws {
    try check(region, regionBytes)
  }

  @Test(arguments: 0...8) func memoryTable(count: Int) throws {
    let regions = (0..<count).map { i in
      MemoryRegionPayload(guestAddress: UInt64(i) << 20, size: 1 << 20, userAddress: UInt64(i) << 30, mapOffset: 0)
    }
    let table = MemoryTablePayload(regions: regions)
    try check(table, u32(UInt32(count), 0) + regions.flatMap(\.encoded))
    #expect(MemoryTablePayload.byteCounts.contains(table.encoded.count))
  }

  @Test func singleRegion() throws {
    try check(SingleRegionPayload(region: region), u64(0) + regionBytes)
    #expect(SingleRegionPayload.byteCount == 40)
  }

  @Test func configuration() throws {
    try check(
      ConfigurationPayload(offset: 4, bytes: [9, 8, 7], restoresMigration: true), u32(4, 3, 1) + [9, 8, 7])
    let whole = ConfigurationPayload(offset: 0, bytes: [UInt8](repeating: 1, count: 256))
    try check(whole, u32(0, 256, 0) + whole.bytes)
  }

  /// Padding is not always cleared by the sender.
  @Test func paddingIsIgnored() throws {
    #expect(try SingleRegionPayload(decoding: u64(.max) + regionBytes).region == region)
    #expect(try MemoryTablePayload(decoding: u32(1, .max) + regionBytes).regions == [region])
  }
}
