import DiscoveryTestSupport
import Foundation
import Testing

@Suite struct DeviceScanTests {
  private func machine() throws -> SysfsFixture {
    let fixture = try SysfsFixture()
    try fixture.addPCI("0000:00:03.0", .virtioNet(), driver: "vfio-pci", iommuGroup: 12, numaNode: 1)
    try fixture.addPCI(
      "0000:05:00.0", ConfigurationBytes(vendor: 0x15b3, device: 0x101e), driver: "mlx5_core",
      virtualFunctions: (enabled: 2, total: 64))
    try fixture.addVDPA("vdpa0", driver: "vhost_vdpa", children: ["vhost-vdpa-0"])
    return fixture
  }

  @Test func theTableHasALineAFunctionAndADevice() throws {
    let fixture = try machine()
    let run = try Program.vdpactl("device", "scan", "--sysfs-root", fixture.root.path)
    #expect(run.status == 0)
    #expect(run.errors == "")
    #expect(
      run.output == """
        PCI FUNCTION  ID         TYPE                   DRIVER     IOMMU  NUMA  VFS   CAPABILITIES
        0000:00:03.0  1af4:1041  virtio net             vfio-pci   12     1     -     \
        virtio[common isr device notify pci-access] MSI-X
        0000:05:00.0  15b3:101e  vdpa (with mlx5_vdpa)  mlx5_core  -      -     2/64  -

        VDPA DEVICE  BUS DRIVER  OVERRIDE  PARENT  PCI FUNCTION  NODE
        vdpa0        vhost_vdpa  -         -       -             /dev/vhost-vdpa-0

        """)
  }

  @Test func theJSONHasTheSameDataWithAllKeys() throws {
    let fixture = try machine()
    let run = try Program.vdpactl("-j", "device", "scan", "--sysfs-root", fixture.root.path)
    #expect(run.status == 0)
    let object = try run.object()
    #expect(Set(object.keys) == ["pci", "pciExamined", "problems", "vdpa", "vdpaBus"])
    let functions = try #require(object["pci"] as? [[String: Any]])
    #expect(functions.count == 2)
    for function in functions {
      #expect(
        Set(function.keys) == [
          "address", "vendor", "device", "subsystemVendor", "subsystemDevice", "class", "revision",
          "virtioCompatible", "virtio", "vdpa", "capabilities", "virtioCapabilities", "driver", "iommuGroup",
          "numaNode", "virtualFunctions", "physicalFunction", "problems",
        ])
    }
    #expect(functions[0]["address"] as? String == "0000:00:03.0")
    #expect(functions[0]["vendor"] as? String == "0x1af4")
    #expect(functions[0]["class"] as? String == "0x020000")
    #expect(functions[0]["iommuGroup"] as? Int == 12)
    #expect(functions[1]["iommuGroup"] is NSNull)
    #expect((functions[1]["vdpa"] as? [String: Any])?["companionModule"] as? String == "mlx5_vdpa")
    let capabilities = try #require(functions[0]["virtioCapabilities"] as? [[String: Any]])
    let notify = try #require(capabilities.first { $0["name"] as? String == "notify" })
    #expect(notify["bar"] as? Int == 4)
    #expect(notify["offset"] as? Int == 0x3000)
    #expect(notify["length"] as? Int == 0x1000)
    #expect(notify["notifyMultiplier"] as? Int == 4)
    let devices = try #require(object["vdpa"] as? [[String: Any]])
    #expect(
      devices.map { Set($0.keys) } == [
        ["name", "busDriver", "driverOverride", "parent", "parentBus", "pciFunction", "node"]
      ])
    #expect(devices[0]["node"] as? String == "/dev/vhost-vdpa-0")
    #expect(object["vdpaBus"] as? String == "present")
  }

  @Test(arguments: [
    ["-j", "device", "scan"], ["device", "-j", "scan"], ["device", "scan", "-j"], ["device", "scan", "--json"],
    ["--control", "/nonexistent.sock", "--json", "device", "scan"],
    ["device", "scan", "-j", "--control", "/nonexistent.sock"],
  ])
  func globalOptionsMayStandAnywhere(arguments: [String]) throws {
    let fixture = try SysfsFixture()
    let run = try Program(
      Program.vdpactlPath(), arguments + ["--sysfs-root", fixture.root.path])
    #expect(run.status == 0)
    #expect(try run.object()["pci"] is [Any])
  }

  @Test func whereThereIsNothingItSaysSoAndWhatThatMayMean() throws {
    let fixture = try SysfsFixture()
    var run = try Program.vdpactl("device", "scan", "--sysfs-root", fixture.root.path)
    #expect(run.status == 0)
    #expect(run.output.contains("No PCI function"))
    #expect(run.output.contains("module vdpa is not loaded"))

    try fixture.addPCI("0000:00:00.0", ConfigurationBytes(vendor: 0x8086, device: 0x29c0))
    try fixture.directory("bus/vdpa/devices")
    run = try Program.vdpactl("device", "scan", "--sysfs-root", fixture.root.path)
    #expect(run.output.contains("No PCI function is virtio-compatible or vDPA-capable; 1 looked at."))
    #expect(run.output.contains("No device on the kernel's vdpa bus."))

    run = try Program.vdpactl("device", "scan", "-j", "--sysfs-root", fixture.root.path)
    #expect((try run.object()["pci"] as? [Any])?.isEmpty == true)
    #expect((try run.object()["vdpa"] as? [Any])?.isEmpty == true)
  }

  @Test func aRecordingShowsItsFunctionsAndNoBus() throws {
    let fixture = try SysfsFixture()
    try fixture.write("recording", Data(ConfigurationBytes.virtioNet().recording(at: "00:03.0").utf8))
    let run = try Program.vdpactl("device", "scan", "--pci-dump", fixture.root.path + "/recording")
    #expect(run.status == 0)
    #expect(run.output.contains("0000:00:03.0  1af4:1041  virtio net"))
    #expect(!run.output.contains("vdpa bus"))
  }

  @Test func aBadRecordingIsAnErrorOfOneLine() throws {
    let fixture = try SysfsFixture()
    try fixture.write("recording", "hello")
    for (file, reason) in [("recording", "no PCI function in it"), ("missing", "No such file or directory")] {
      let run = try Program.vdpactl("-j", "device", "scan", "--pci-dump", fixture.root.path + "/" + file)
      #expect(run.status == 1)
      #expect(run.output == "")
      #expect(run.errors.hasPrefix("Error: \(fixture.root.path)/\(file): "))
      #expect(run.errors.contains(reason))
      #expect(run.errors.split(separator: "\n").count == 1)
    }
  }

  @Test func aTreeThatIsNoSysfsIsAnError() throws {
    let run = try Program.vdpactl("device", "scan", "--sysfs-root", "/nonexistent")
    #expect(run.status == 1)
    #expect(run.errors == "Error: /nonexistent: this is no sysfs tree: it has no directory bus\n")
  }

  @Test func aTreeAndARecordingExcludeEachOther() throws {
    let run = try Program.vdpactl("device", "scan", "--sysfs-root", "/sys", "--pci-dump", "x")
    #expect(run.status == 64)
    #expect(run.errors.contains("exclude each other"))
  }

  @Test func problemsStandBelowTheTable() throws {
    let fixture = try SysfsFixture()
    for slot in 3...4 { try fixture.addPCI("0000:00:0\(slot).0", .virtioNet(), readableLength: 64) }
    let run = try Program.vdpactl("device", "scan", "--sysfs-root", fixture.root.path)
    #expect(run.output.contains("  0000:00:03.0, 0000:00:04.0: capabilities not readable: "))
  }

  @Test func namesCannotSteerTheTerminal() throws {
    let fixture = try SysfsFixture()
    try fixture.addVDPA("evil\u{1b}[2Jname")
    let run = try Program.vdpactl("device", "scan", "--sysfs-root", fixture.root.path)
    #expect(!run.output.contains("\u{1b}"))
    #expect(run.output.contains("evil\\u{1b}[2Jname"))
  }
}
