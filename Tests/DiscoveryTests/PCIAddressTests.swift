import Discovery
import Testing

@Suite struct PCIAddressTests {
  @Test func theTextOfSysfsIsReadAndWritten() throws {
    let address = try #require(PCIAddress("0000:3a:1f.7"))
    #expect(address == PCIAddress(domain: 0, bus: 0x3a, device: 0x1f, function: 7))
    #expect(address.description == "0000:3a:1f.7")
    // Host bridges of some machines have domains of more than 16 bits.
    #expect(PCIAddress("10000:e1:00.0")?.description == "10000:e1:00.0")
  }

  @Test(arguments: [
    "", "vdpa0", "00:03.0", "0000:00:20.0", "0000:00:03.8", "0000:00:03", "0000:00:03.0.0", "0000:00:3.0",
    "0000:+0:03.0", "-000:00:03.0", "0000:00:03.x", "000000000:00:03.0", "0000:00:03.0 ",
  ])
  func otherTextIsNoAddress(text: String) {
    #expect(PCIAddress(text) == nil)
  }

  @Test func addressesOrderByDomainBusDeviceFunction() throws {
    let texts = ["0000:00:03.0", "0000:00:03.1", "0000:00:04.0", "0000:01:00.0", "0001:00:00.0", "10000:00:00.0"]
    let addresses = try texts.map { try #require(PCIAddress($0)) }
    #expect(addresses.reversed().sorted() == addresses)
  }
}
