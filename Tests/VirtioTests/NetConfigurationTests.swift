import Testing

@testable import Virtio

@Suite struct NetConfigurationTests {
  @Test func layout() throws {
    let mac = try #require(MACAddress("52:54:00:12:34:56"))
    let configuration = NetConfiguration(mac: mac, status: 0x0201, maxQueuePairs: 0x0403, mtu: 0x0605)
    #expect(configuration.encoded == [0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 2, 3, 4, 5, 6])
    #expect(configuration.encoded.count == NetConfiguration.byteCount)
    #expect(NetConfiguration(decoding: configuration.encoded + [9, 9]) == configuration)
    for count in 0..<12 { #expect(NetConfiguration(decoding: [UInt8](repeating: 0xff, count: count)) == nil) }
    let usual = NetConfiguration(mac: .zero)
    #expect(usual.encoded == [0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0xdc, 5])
  }

  @Test func macAddresses() throws {
    #expect(MACAddress("52:54:00:12:34:56")?.bytes == [0x52, 0x54, 0, 0x12, 0x34, 0x56])
    #expect(MACAddress("fF:Ee:0A:00:01:02")?.description == "ff:ee:0a:00:01:02")
    #expect(MACAddress.zero.bytes == [0, 0, 0, 0, 0, 0])
    for bad in [
      "", ":", ":::::", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:5", "52:54:00:12:34:567",
      "52-54-00-12-34-56", "52:54:00:12:34:5g", "+5:54:00:12:34:56", "-0:54:00:12:34:56", " 2:54:00:12:34:56",
      "52:54:00:12:34:56:", ":52:54:00:12:34:56", "52:54::12:34:56", "5２:54:00:12:34:56", "525400123456",
    ] { #expect(MACAddress(bad) == nil, "\(bad)") }
    for count in [0, 5, 7] { #expect(MACAddress(bytes: [UInt8](repeating: 1, count: count)) == nil) }
  }

  @Test func headerLength() {
    #expect(NetHeader.length(for: []) == 10 && NetHeader.length(for: .version1) == 12)
    #expect(NetHeader.length(for: .netMergeableBuffers) == 12)
    #expect(NetHeader.length(for: [.version1, .netMergeableBuffers]) == 12)
    #expect(NetHeader.length(for: [.netMAC, .anyLayout]) == 10 && NetHeader.bufferCountOffset == 10)
  }
}
