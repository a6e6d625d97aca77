import DiscoveryTestSupport
import Testing

@testable import Discovery

@Suite struct PCIConfigurationSpaceTests {
  private struct Decoded {
    var capabilities: [PCICapability] = []
    var virtio: [VirtioPCICapability] = []
    var problems: [String] = []
  }

  private func decode(_ bytes: [UInt8], barSizes: [UInt64]? = nil) -> Decoded {
    let space = PCIConfigurationSpace(bytes: bytes)
    var result = Decoded()
    result.capabilities = space.capabilities(problems: &result.problems)
    result.virtio = space.virtioCapabilities(
      result.capabilities, barSizes: barSizes, problems: &result.problems)
    return result
  }

  @Test func virtioCapabilitiesAreDecoded() throws {
    let decoded = decode(ConfigurationBytes.virtioNet().bytes, barSizes: [0, 0, 0, 0, 0x4000, 0])
    #expect(decoded.problems == [])
    #expect(decoded.virtio.map(\.kind) == [.common, .isr, .device, .notify, .pciAccess])
    #expect(decoded.capabilities.map(\.name) == ["vendor", "vendor", "vendor", "vendor", "vendor", "MSI-X"])
    let notify = try #require(decoded.virtio.first { $0.kind == .notify })
    #expect(notify.region == VirtioPCICapability.Region(bar: 4, offset: 0x3000, length: 0x1000))
    #expect(notify.notifyMultiplier == 4)
    #expect(decoded.virtio.filter { $0.kind != .notify }.allSatisfy { $0.notifyMultiplier == nil })
    // The window's fields are the driver's to write.
    #expect(decoded.virtio.last?.region == nil)
  }

  @Test func aSharedMemoryRegionHas64BitFields() throws {
    var function = ConfigurationBytes(vendor: 0x1af4, device: 0x105a)
    let position = function.addVirtio(
      type: 8, bar: 2, offset: 0x1000, length: 0, tail: [1, 0, 0, 0, 2, 0, 0, 0])
    function.bytes[position + 5] = 7
    let decoded = decode(function.bytes)
    #expect(decoded.problems == [])
    let memory = try #require(decoded.virtio.first)
    #expect(memory.id == 7)
    #expect(memory.region == VirtioPCICapability.Region(bar: 2, offset: 0x1_0000_1000, length: 0x2_0000_0000))
  }

  @Test func aListWithoutTheStatusBitIsNotWalked() {
    var function = ConfigurationBytes.virtioNet()
    function.set(0x06, UInt16(0))
    #expect(decode(function.bytes).capabilities.isEmpty)
  }

  @Test(arguments: [
    (0x99, UInt8(0x40), "loops back to 0x40"), (0x99, 0x98, "loops back to 0x98"),
    (0x99, 0x20, "points into the header, at 0x20"), (0x98, 0xff, "breaks off at 0x98"),
  ])
  func aDamagedListEndsWithAProblem(offset: Int, value: UInt8, problem: String) {
    var function = ConfigurationBytes.virtioNet()
    // 0x98 is where MSI-X, the last, is.
    #expect(function.bytes[0x98] == 0x11)
    function.bytes[offset] = value
    let decoded = decode(function.bytes)
    #expect(decoded.problems.count == 1)
    #expect(decoded.problems.first?.contains(problem) == true)
    #expect(decoded.virtio.count == 5)
  }

  /// What is malformed: how the capability is made, the sizes of BARs, and what the problem says.
  struct Malformed: CustomTestStringConvertible, Sendable {
    let problem: String
    var type: UInt8 = 1
    var bar: UInt8 = 0
    var offset: UInt32 = 0
    var length: UInt32 = 0x1000
    var tail: [UInt8] = []
    var claimedLength: UInt8?
    var barSizes: [UInt64]?
    var testDescription: String { problem }
  }

  @Test(arguments: [
    Malformed(problem: "BAR 7 does not exist", bar: 7),
    Malformed(problem: "BAR 6 does not exist", bar: 6),
    Malformed(problem: "leaves no room for a type", claimedLength: 3),
    Malformed(problem: "15 bytes are too short for common", claimedLength: 15),
    Malformed(problem: "16 bytes are too short for notify", type: 2),
    Malformed(problem: "20 bytes are too short for shared-memory", type: 8, tail: [0, 0, 0, 0]),
    Malformed(problem: "do not fit into the 192", claimedLength: 193),
    Malformed(problem: "overflows", offset: 0xffff_f000, length: 0x1001),
    Malformed(
      problem: "overflows", type: 8, offset: 0xffff_f000, length: 0x1000, tail: [255, 255, 255, 255, 0, 0, 0, 0]),
    Malformed(problem: "takes 56 bytes, not 55", length: 55),
    Malformed(problem: "BAR 0 is not implemented", barSizes: [0, 0, 0, 0, 0x4000, 0]),
    Malformed(problem: "ends at 0x1001, after BAR 0", offset: 1, barSizes: [0x1000, 0, 0, 0, 0, 0]),
  ])
  func aMalformedVirtioCapabilityIsAProblem(_ malformed: Malformed) {
    var function = ConfigurationBytes(vendor: 0x1af4, device: 0x1041)
    function.addVirtio(
      type: malformed.type, bar: malformed.bar, offset: malformed.offset, length: malformed.length,
      tail: malformed.tail, claimedLength: malformed.claimedLength)
    function.addVirtio(type: 3, bar: 4, offset: 0, length: 1)
    let decoded = decode(function.bytes, barSizes: malformed.barSizes)
    #expect(decoded.problems.contains { $0.contains("at 0x40: ") && $0.contains(malformed.problem) })
    #expect(!decoded.virtio.contains { $0.position == 0x40 })
  }

  @Test func aCapabilityCutOffByTheEndIsAProblem() {
    var function = ConfigurationBytes(vendor: 0x1af4, device: 0x1041)
    function.set(0x06, UInt16(0x10))
    function.bytes[0x34] = 0xfc
    function.bytes.replaceSubrange(0xfc..., with: [0x09, 0, 16, 1])
    #expect(decode(function.bytes).problems.contains { $0.contains("do not fit into the 4") })
  }

  @Test func limitsThemselvesAreAllowed() {
    var function = ConfigurationBytes(vendor: 0x1af4, device: 0x1041)
    function.addVirtio(type: 1, bar: 5, offset: 0xffff_f000, length: 0x1000)
    function.addVirtio(type: 3, bar: 0, offset: 0xfff, length: 1)
    let decoded = decode(function.bytes, barSizes: [0x1000, 0, 0, 0, 0, 0x1_0000_0000])
    #expect(decoded.problems == [])
    #expect(decoded.virtio.count == 2)
  }

  @Test func extendedCapabilitiesAndVirtualFunctionsAreRead() {
    var function = ConfigurationBytes.virtioNet()
    function.addExtended(0x0f, at: 0x100, [])
    function.addExtended(0x10, at: 0x140, [0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 8, 0, 3, 0])
    let decoded = decode(function.bytes)
    #expect(decoded.capabilities.filter(\.isExtended).map(\.name) == ["ATS", "SR-IOV"])
    let counts = PCIConfigurationSpace(bytes: function.bytes).virtualFunctions(decoded.capabilities)
    #expect(counts?.total == 8)
    #expect(counts?.enabled == 3)
  }

  @Test func anExtendedListThatLoopsEnds() {
    var function = ConfigurationBytes.virtioNet()
    function.addExtended(0x0f, at: 0x100, [])
    function.addExtended(0x0e, at: 0x140, [])
    function.set(0x142, UInt16(0x1001))
    let decoded = decode(function.bytes)
    #expect(decoded.problems == ["the extended capability list loops back to 0x100"])
  }

  /// Whatever the bytes: the walks end, and a region that is given can be used without a further check.
  @Test func noBytesBreakTheDecoder() {
    var generator = SplitMix64(state: 1)
    let sizes: [UInt64] = [0x1000, 0, 0x4000, 0, 1 << 40, 0]
    for round in 0..<20_000 {
      var bytes = ConfigurationBytes.virtioNet().bytes
      if round % 2 == 0 { bytes += [UInt8](repeating: 0, count: 4096 - 256) }
      for _ in 0..<Int.random(in: 1...40, using: &generator) {
        // Mostly where the lists are, so that damage matters.
        let limit = round % 2 == 0 && Bool.random(using: &generator) ? 0x200 : 0xb0
        bytes[Int.random(in: 0x30..<limit, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      let decoded = decode(bytes, barSizes: sizes)
      #expect(decoded.capabilities.count <= 48 + 960)
      for region in decoded.virtio.compactMap(\.region) {
        #expect(region.bar <= 5 && region.offset + region.length <= sizes[Int(region.bar)])
      }
    }
  }
}

/// A small generator with a seed, so that a failure comes again.
struct SplitMix64: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
