import Testing
import VhostUser

/// Values of the right size that are refused.
struct PayloadValueTests {
  private func refused<P: Payload>(
    _ type: P.Type, _ bytes: [UInt8], _ code: VhostUserError.Code = .malformed,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: VhostUserError.self, sourceLocation: sourceLocation) { try P(decoding: bytes) }
    #expect(error?.code == code, sourceLocation: sourceLocation)
  }

  @Test(arguments: [0, 2, 3] as [UInt32]) func headerVersion(version: UInt32) {
    refused(MessageHeader.self, u32(1, version, 0))
  }

  @Test(arguments: 4..<32) func headerReservedFlags(bit: Int) {
    refused(MessageHeader.self, u32(1, 1 | 1 << UInt32(bit), 0))
  }

  @Test func headerSize() throws {
    #expect(try MessageHeader(decoding: u32(1, 1, 4096)).size == 4096)
    refused(MessageHeader.self, u32(1, 1, 4097))
    refused(MessageHeader.self, u32(1, 1, .max))
  }

  @Test func headerDirection() throws {
    let (request, reply) = (MessageHeader(request: 1, size: 0), MessageHeader(request: 1, flags: .reply, size: 0))
    try request.check(is: .request)
    try reply.check(is: .reply)
    #expect(throws: VhostUserError.self) { try request.check(is: .reply) }
    #expect(throws: VhostUserError.self) { try reply.check(is: .request) }
  }

  @Test(arguments: 1..<32) func vringAddressFlags(bit: Int) {
    refused(VringAddressPayload.self, u32(0, 1 << UInt32(bit)) + u64(0) + u64(0) + u64(0) + u64(0))
  }

  @Test(arguments: 9..<64) func vringFileReservedBits(bit: Int) {
    refused(VringFilePayload.self, u64(1 << UInt64(bit)))
  }

  @Test func vringFileDescriptors() throws {
    let (with, without) = (
      VringFilePayload(index: 1, hasDescriptor: true), VringFilePayload(index: 1, hasDescriptor: false)
    )
    try with.check(descriptors: 1)
    try without.check(descriptors: 0)
    let missing = #expect(throws: VhostUserError.self) { try with.check(descriptors: 0) }
    #expect(missing?.code == .missingDescriptor && missing?.ring == 1)
    let surplus = #expect(throws: VhostUserError.self) { try without.check(descriptors: 1) }
    #expect(surplus?.code == .tooManyDescriptors)
  }

  private func region(_ guest: UInt64, _ size: UInt64, _ user: UInt64, _ offset: UInt64) -> [UInt8] {
    u64(guest) + u64(size) + u64(user) + u64(offset)
  }

  @Test func memoryRegionBounds() throws {
    let last = UInt64.max
    _ = try MemoryRegionPayload(decoding: region(last - 0x1000, 0x1000, last - 0x1000, UInt64(Int64.max) - 0x1000))
    refused(MemoryRegionPayload.self, region(0, 0, 0, 0), .badMemory)
    refused(MemoryRegionPayload.self, region(last - 0xfff, 0x1000, 0, 0), .badMemory)
    refused(MemoryRegionPayload.self, region(0, 0x1000, last - 0xfff, 0), .badMemory)
    refused(MemoryRegionPayload.self, region(0, 0x1000, 0, last - 0xfff), .badMemory)
    refused(MemoryRegionPayload.self, region(0, 0x1000, 0, UInt64(Int64.max) - 0xfff), .badMemory)
    refused(MemoryRegionPayload.self, region(0, last, 1, 0), .badMemory)
  }

  @Test func memoryTableCount() {
    let nine = (0..<9).flatMap { region(UInt64($0) << 20, 0x1000, 0, 0) }
    refused(MemoryTablePayload.self, u32(9, 0) + nine, .badMemory)
    refused(MemoryTablePayload.self, u32(.max, 0), .badMemory)
    // One region less than the count says.
    refused(MemoryTablePayload.self, u32(2, 0) + region(0, 1, 0, 0))
  }

  @Test("What follows the regions that the count names is room for more, and is not looked at")
  func memoryTableRoom() throws {
    let garbage = [UInt8](repeating: 0xff, count: 32)
    #expect(try MemoryTablePayload(decoding: u32(1, 0) + region(0, 1, 0, 0) + garbage).regions.count == 1)
    #expect(try MemoryTablePayload(decoding: u32(0, 0) + garbage + garbage).regions.isEmpty)
    refused(MemoryTablePayload.self, u32(1, 0) + region(0, 1, 0, 0) + garbage.dropLast())
  }

  @Test func memoryTableDescriptors() throws {
    let table = try MemoryTablePayload(decoding: u32(1, 0) + region(0, 1, 0, 0))
    try table.check(descriptors: 1)
    let missing = #expect(throws: VhostUserError.self) { try table.check(descriptors: 0) }
    #expect(missing?.code == .missingDescriptor)
    let surplus = #expect(throws: VhostUserError.self) { try table.check(descriptors: 2) }
    #expect(surplus?.code == .tooManyDescriptors)
  }

  @Test func configurationBounds() throws {
    _ = try ConfigurationPayload(decoding: u32(255, 1, 0) + [0])
    _ = try ConfigurationPayload(decoding: u32(256, 0, 0))
    refused(ConfigurationPayload.self, u32(256, 1, 0) + [0])
    refused(ConfigurationPayload.self, u32(257, 0, 0))
    refused(ConfigurationPayload.self, u32(.max, 1, 0) + [0])
    refused(ConfigurationPayload.self, u32(0, 257, 0) + [UInt8](repeating: 0, count: 257))
    refused(ConfigurationPayload.self, u32(1, .max, 0) + [0])
    refused(ConfigurationPayload.self, u32(0, 1, 2) + [0])
    // The size and the bytes that are there differ.
    refused(ConfigurationPayload.self, u32(0, 1, 0) + [0, 0])
    refused(ConfigurationPayload.self, u32(0, 2, 0) + [0])
  }
}
