import DiscoveryTestSupport
import Foundation
import SystemPackage
import Testing

@testable import Discovery

@Suite struct DeviceScannerTests {
  private func scan(_ fixture: SysfsFixture) throws -> DeviceInventory {
    try DeviceScanner(source: .sysfs(root: FilePath(fixture.root.path))).scan()
  }

  private func scan(recording text: String) throws -> DeviceInventory {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("recording-\(UUID().uuidString)")
    try Data(text.utf8).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    return try DeviceScanner(source: .recording(FilePath(file.path))).scan()
  }

  /// A function of no interest: a host bridge.
  private static let bridge = ConfigurationBytes(vendor: 0x8086, device: 0x29c0, classCode: 0x060000)

  // MARK: PCI functions in sysfs

  @Test func aVirtioFunctionIsFoundWithAllThatSysfsSays() throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:00:00.0", Self.bridge)
    try fixture.addPCI(
      "0000:00:03.0", .virtioNet(), driver: "vfio-pci", iommuGroup: 12, numaNode: 1,
      virtualFunctions: (enabled: 2, total: 64))
    let inventory = try scan(fixture)
    #expect(inventory.examinedFunctions == 2)
    #expect(inventory.problems == [])
    #expect(inventory.pciFunctions.count == 1)
    let function = try #require(inventory.pciFunctions.first)
    #expect(function.address.description == "0000:00:03.0")
    #expect(function.vendorID == 0x1af4)
    #expect(function.deviceID == 0x1041)
    #expect(function.subsystemVendorID == 0x1af4)
    #expect(function.subsystemDeviceID == 0x1100)
    #expect(function.classCode == 0x020000)
    #expect(function.revision == 1)
    #expect(function.virtio?.type.name == "net")
    #expect(function.virtio?.isTransitional == false)
    #expect(function.isVirtioCompatible)
    #expect(function.vdpa == nil)
    #expect(function.driver == "vfio-pci")
    #expect(function.iommuGroup == 12)
    #expect(function.numaNode == 1)
    #expect(function.virtualFunctions == .some(.init(total: 64, enabled: 2)))
    #expect(function.virtioCapabilities.count == 5)
    #expect(function.problems == [])
  }

  @Test func aTransitionalFunctionHasItsTypeInTheSubsystemID() throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI(
      "0000:00:04.0",
      ConfigurationBytes(
        vendor: 0x1af4, device: 0x1001, subsystemVendor: 0x1af4, subsystemDevice: 2, classCode: 0x018003, revision: 0))
    let function = try #require(try scan(fixture).pciFunctions.first)
    #expect(function.virtio?.type.name == "block")
    #expect(function.virtio?.isTransitional == true)
    #expect(function.classCode == 0x018003)
    #expect(function.revision == 0)
    #expect(function.numaNode == nil)
    // A legacy device has no capabilities: that is no problem.
    #expect(function.capabilities == [])
    #expect(function.problems == [])
  }

  @Test func otherDevicesOfTheVendorAreNotVirtio() throws {
    let fixture = try SysfsFixture()
    for (slot, device) in [0x0fff, 0x1080, 0x1100, 0x1110].enumerated() {
      try fixture.addPCI("0000:00:0\(slot + 1).0", ConfigurationBytes(vendor: 0x1af4, device: UInt16(device)))
    }
    let inventory = try scan(fixture)
    #expect(inventory.pciFunctions.isEmpty)
    #expect(inventory.examinedFunctions == 4)
  }

  @Test func aVendorsOwnFunctionWithVirtioCapabilitiesCounts() throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:03:00.0", .virtioNet(vendor: 0x1ed5, device: 0x1041))
    // A bridge whose vendor-specific capability happens to have type 1.
    var bridge = Self.bridge
    bridge.addVirtio(type: 1, bar: 4, offset: 0, length: 0x1000)
    try fixture.addPCI("0000:04:00.0", bridge)
    let inventory = try scan(fixture)
    #expect(inventory.pciFunctions.map(\.address.description) == ["0000:03:00.0"])
    #expect(inventory.pciFunctions.first?.virtio == nil)
    #expect(inventory.pciFunctions.first?.isVirtioCompatible == true)
  }

  @Test func capabilitiesThatOnlyRootCanReadAreSaidToBeUnreadable() throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:00:03.0", .virtioNet(), readableLength: 64)
    let function = try #require(try scan(fixture).pciFunctions.first)
    #expect(function.capabilities == nil)
    #expect(function.virtioCapabilities.isEmpty)
    #expect(function.problems.count == 1)
    #expect(function.problems.first?.contains("run as root") == true)
    // By its ids it is still what it is.
    #expect(function.isVirtioCompatible)
  }

  @Test func aFunctionThatDoesNotAnswerSaysSo() throws {
    let fixture = try SysfsFixture()
    var gone = ConfigurationBytes.virtioNet()
    gone.bytes = [UInt8](repeating: 0xff, count: 256)
    try fixture.addPCI("0000:00:03.0", gone, ids: (0x1af4, 0x1041))
    let function = try #require(try scan(fixture).pciFunctions.first)
    #expect(function.capabilities == nil)
    #expect(function.problems.contains { $0.contains("all ones") })
  }

  @Test func aVirtualFunctionIsKnownByItsAttributes() throws {
    let fixture = try SysfsFixture()
    // The ids in the configuration space of a virtual function read as all ones (PCI Express, section 9.3.4.1).
    var virtual = ConfigurationBytes.virtioNet()
    virtual.set(0, UInt32.max)
    try fixture.addPCI(
      "0000:03:00.2", virtual, ids: (0x1af4, 0x1041), driver: "vp-vdpa", physicalFunction: "0000:03:00.0")
    let function = try #require(try scan(fixture).pciFunctions.first)
    #expect(function.virtio?.type.name == "net")
    #expect(function.physicalFunction == PCIAddress("0000:03:00.0"))
    #expect(function.vdpa?.driver == "vp-vdpa")
    #expect(function.problems == [])
  }

  @Test func aCapabilityBeyondItsBARIsAProblemAndNotListed() throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:00:03.0", .virtioNet(), bar4Size: 0x3000)
    let function = try #require(try scan(fixture).pciFunctions.first)
    #expect(!function.virtioCapabilities.contains { $0.kind == .notify })
    #expect(function.problems.contains { $0.contains("after BAR 4, whose size is 0x3000") })
    #expect(function.problems.contains { $0.contains("no virtio driver can drive it") })
  }

  // MARK: vDPA

  @Test(
    arguments: [
      ("ifcvf", nil), ("vp-vdpa", nil), ("octep_vdpa", nil), ("snet-vdpa-driver", nil), ("alibaba-eni-vdpa", nil),
      ("mlx5_core", "mlx5_vdpa"), ("pds_core", "pds_vdpa"),
    ] as [(String, String?)])
  func aDriverOfTheVDPABusMakesAFunctionCapable(driver: String, module: String?) throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:05:00.0", ConfigurationBytes(vendor: 0x15b3, device: 0x101e), driver: driver)
    try fixture.addPCI("0000:05:00.1", ConfigurationBytes(vendor: 0x15b3, device: 0x101e), driver: "vfio-pci")
    let inventory = try scan(fixture)
    #expect(inventory.pciFunctions.map(\.address.description) == ["0000:05:00.0"])
    let function = try #require(inventory.pciFunctions.first)
    #expect(function.vdpa?.driver == driver)
    #expect(function.vdpa?.companionModule == module)
    #expect(!function.isVirtioCompatible)
  }

  @Test func devicesOfTheVDPABusAreReadWithTheirRelations() throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:06:00.1", ConfigurationBytes(vendor: 0x1234, device: 0x5678), driver: "newvdpa")
    try fixture.addVDPA(
      "vdpa10", parent: "pci0000:00/0000:06:00.1/mlx5_core.sf.4", parentBus: "auxiliary", driver: "vhost_vdpa",
      driverOverride: "vhost_vdpa", children: ["power", "vhost-vdpa-0x", "vhost-vdpa-3"])
    try fixture.addVDPA("net0", driver: "virtio_vdpa", children: ["virtio7"])
    try fixture.addVDPA("plain", parent: "virtual/vduse/plain0", parentBus: "vduse")
    let inventory = try scan(fixture)
    #expect(inventory.vdpaBus == .present)
    #expect(inventory.vdpaDevices.map(\.name) == ["net0", "plain", "vdpa10"])
    let device = try #require(inventory.vdpaDevices.last)
    #expect(device.busDriver == "vhost_vdpa")
    #expect(device.driverOverride == "vhost_vdpa")
    #expect(device.parent == .some(.init(name: "mlx5_core.sf.4", bus: "auxiliary")))
    #expect(device.pciFunction == PCIAddress("0000:06:00.1"))
    #expect(device.node == "/dev/vhost-vdpa-3")
    let simulated = try #require(inventory.vdpaDevices.first)
    #expect(simulated.busDriver == "virtio_vdpa")
    #expect(simulated.driverOverride == nil)
    #expect(simulated.parent == nil)
    #expect(simulated.pciFunction == nil)
    #expect(simulated.node == nil)
    #expect(inventory.vdpaDevices[1].busDriver == nil)
    #expect(inventory.vdpaDevices[1].parent?.name == "plain0")
    // The function counts because of its device, with a driver that is not known.
    #expect(inventory.pciFunctions.first?.vdpa?.devices == ["vdpa10"])
    #expect(inventory.pciFunctions.first?.vdpa?.driver == nil)
  }

  @Test func aBusWithoutDevicesIsNotAnAbsentBus() throws {
    let fixture = try SysfsFixture()
    #expect(try scan(fixture).vdpaBus == .absent)
    try fixture.directory("bus/vdpa/devices")
    #expect(try scan(fixture).vdpaBus == .present)
    #expect(try scan(fixture).vdpaDevices.isEmpty)
  }

  @Test func aDeviceThatWentMeanwhileIsLeftOut() throws {
    let fixture = try SysfsFixture()
    try fixture.link("bus/vdpa/devices/gone", to: "../../../devices/gone")
    #expect(try scan(fixture).vdpaDevices.isEmpty)
  }

  // MARK: Recordings

  @Test func aRecordingIsRead() throws {
    var function = ConfigurationBytes.virtioNet()
    function.addExtended(0x10, at: 0x100, [0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 8, 0, 3, 0])
    let inventory = try scan(
      recording: Self.bridge.recording(at: "00:00.0") + function.recording(at: "0001:3b:00.1"))
    #expect(inventory.vdpaBus == .notScanned)
    #expect(inventory.examinedFunctions == 2)
    #expect(inventory.pciFunctions.map(\.address.description) == ["0001:3b:00.1"])
    let found = try #require(inventory.pciFunctions.first)
    #expect(found.virtio?.type.name == "net")
    #expect(found.subsystemDeviceID == 0x1100)
    #expect(found.classCode == 0x020000)
    #expect(found.virtioCapabilities.map(\.kind) == [.common, .isr, .device, .notify, .pciAccess])
    #expect(found.virtualFunctions == .some(.init(total: 8, enabled: 3)))
    #expect(found.driver == nil)
    #expect(found.problems == [])
  }

  @Test func aRecordingOf64BytesSaysHowToMakeABetterOne() throws {
    let inventory = try scan(recording: ConfigurationBytes.virtioNet().recording(at: "00:03.0", length: 64))
    let function = try #require(inventory.pciFunctions.first)
    #expect(function.capabilities == nil)
    #expect(function.problems.first?.contains("lspci -xxx") == true)
  }

  @Test func malformedCapabilitiesInARecordingAreProblems() throws {
    var function = ConfigurationBytes.virtioNet()
    function.bytes[0x44] = 7
    function.bytes[0x99] = 0x40
    let found = try #require(try scan(recording: function.recording(at: "00:03.0")).pciFunctions.first)
    #expect(found.problems.contains { $0.contains("BAR 7 does not exist") })
    #expect(found.problems.contains { $0.contains("loops back to 0x40") })
    #expect(found.problems.contains { $0.contains("no virtio driver can drive it") })
  }

  @Test func anImpossibleAddressIsAProblem() throws {
    let text =
      ConfigurationBytes.virtioNet().recording(at: "00:3f.0") + ConfigurationBytes.virtioNet().recording(at: "00:03.0")
    let inventory = try scan(recording: text)
    #expect(inventory.pciFunctions.count == 1)
    #expect(inventory.problems.count == 1)
    #expect(inventory.problems.first?.contains("no such address") == true)
  }

  // MARK: Errors. libpci's own way out is exit(3); that the test goes on is what it proves.

  @Test func aMissingRecordingIsAnError() {
    let error = #expect(throws: DiscoveryError.self) {
      try DeviceScanner(source: .recording("/nonexistent/recording")).scan()
    }
    #expect(error?.code == .recording)
    #expect(error?.description.contains("/nonexistent/recording") == true)
    #expect(error?.description.contains("No such file") == true)
  }

  @Test(arguments: [
    ("no line of it is one of lspci's\n", "no PCI function"), ("", "no PCI function"),
    ("00:03.0 Some device\n00: f4 1a zz\n", "Malformed line"),
    ("00:03.0 Some device\n00: f4 1a", "line too long or unterminated"),
    ("00:03.0 Some device\nfff: 00 01\n", "At most 4096 bytes"),
  ])
  func aDamagedRecordingIsAnError(text: String, reason: String) {
    let error = #expect(throws: DiscoveryError.self) { try scan(recording: text) }
    #expect(error?.code == .recording)
    #expect(error?.reason.contains(reason) == true)
  }

  /// Whatever is in the file, there is an inventory or an error, and the process lives.
  @Test func noRecordingEndsTheProcess() throws {
    var generator = SplitMix64(state: 2)
    let whole = Array((ConfigurationBytes.virtioNet().recording(at: "00:03.0") + "00:04.0 Other\nff0: 00\n").utf8)
    for _ in 0..<300 {
      var text = whole
      for _ in 0..<Int.random(in: 1...12, using: &generator) {
        text[Int.random(in: 0..<text.count, using: &generator)] =
          Bool.random(using: &generator)
          ? UInt8.random(in: 0...255, using: &generator)
          : Array("0123456789abcdef: .\n".utf8).randomElement(using: &generator) ?? 0
      }
      do {
        _ = try scan(recording: String(decoding: text, as: UTF8.self))
      } catch {
        #expect(error is DiscoveryError)
      }
    }
  }

  @Test func aDirectoryThatIsNoSysfsIsAnError() {
    let error = #expect(throws: DiscoveryError.self) {
      try DeviceScanner(source: .sysfs(root: "/nonexistent")).scan()
    }
    #expect(error?.code == .sysfs)
  }

  @Test func anEntryThatIsNoFunctionIsAnError() throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:00:03.0", .virtioNet())
    try fixture.directory("bus/pci/devices/not-an-address")
    let error = #expect(throws: DiscoveryError.self) { try scan(fixture) }
    #expect(error?.code == .sysfs)
    #expect(error?.subject.hasSuffix("bus/pci/devices/not-an-address") == true)
  }

  @Test func aFunctionThatWentMeanwhileIsAProblemAndTheOthersAreListed() throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:00:03.0", .virtioNet())
    try fixture.directory("bus/pci/devices/0000:00:04.0")
    let inventory = try scan(fixture)
    #expect(inventory.pciFunctions.map(\.address.description) == ["0000:00:03.0"])
    #expect(inventory.problems.count == 1)
    #expect(inventory.problems.first?.contains("vendor") == true)
  }

  @Test func sizesOfBARsThatCannotBeReadAreUnknown() throws {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:00:03.0", .virtioNet())
    try fixture.write("devices/pci0000:00/0000:00:03.0/resource", "what is this")
    let function = try #require(try scan(fixture).pciFunctions.first)
    #expect(function.virtioCapabilities.count == 5)
    #expect(function.problems.contains { $0.contains("sizes of BARs unknown") })
  }

  @Test func aMachineWithoutPCIHasNoFunctions() throws {
    let inventory = try scan(SysfsFixture())
    #expect(inventory.examinedFunctions == 0)
    #expect(inventory.pciFunctions.isEmpty)
  }

  @Test func thisMachineCanBeScanned() throws {
    // What it has is not known, only that libpci and libudev give an answer.
    let inventory = try DeviceScanner().scan()
    #expect(inventory.vdpaBus != .notScanned)
    #expect(inventory.pciFunctions.count <= inventory.examinedFunctions)
  }
}
