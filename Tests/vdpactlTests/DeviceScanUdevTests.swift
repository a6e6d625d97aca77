import DiscoveryTestSupport
import Foundation
import Testing

/// `vdpactl device scan` on `/sys`, as umockdev makes it: what goes through libudev and the real paths.
///
/// umockdev does not know that vdpa is a bus and makes it a class; a plain look at `/sys/bus/vdpa` finds nothing there.
/// So these devices are seen only if libudev has listed them.
@Suite struct DeviceScanUdevTests {
  private func scan(_ devices: String, _ arguments: [String]) throws -> Program {
    let runner = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
      .map { "\($0)/umockdev-run" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    let path = try #require(runner, "umockdev-run not found: apt-get install umockdev")
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("devices-\(UUID().uuidString).umockdev")
    try Data(devices.utf8).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    return try Program(path, ["-d", file.path, "--", Program.vdpactlPath()] + arguments)
  }

  private static let resource =
    (0..<7).map { index in
      index == 4
        ? "0x00000000fe000000 0x00000000fe003fff 0x000000000014220c\\n"
        : "0x0000000000000000 0x0000000000000000 0x0000000000000000\\n"
    }.joined()

  private static let virtioNet = """
    P: /devices/pci0000:00/0000:00:03.0
    E: SUBSYSTEM=pci
    A: vendor=0x1af4\\n
    A: device=0x1041\\n
    A: subsystem_vendor=0x1af4\\n
    A: subsystem_device=0x1100\\n
    A: class=0x020000\\n
    A: revision=0x01\\n
    A: numa_node=0\\n
    A: resource=\(resource)
    H: config=\(ConfigurationBytes.virtioNet().hexadecimal.uppercased())
    L: driver=../../../bus/pci/drivers/vp-vdpa
    L: iommu_group=../../../kernel/iommu_groups/5


    """

  private static let vdpaDevice = """
    P: /devices/pci0000:00/0000:00:03.0/vdpa0
    E: SUBSYSTEM=vdpa
    A: driver_override=vhost_vdpa\\n
    A: vhost-vdpa-2/dev=511:2\\n
    L: driver=../../../../bus/vdpa/drivers/vhost_vdpa


    """

  @Test func libudevListsTheDevicesOfTheVDPABus() throws {
    let run = try scan(Self.vdpaDevice + Self.virtioNet, ["device", "scan"])
    #expect(run.errors == "")
    #expect(run.status == 0)
    #expect(
      run.output == """
        PCI FUNCTION  ID         TYPE              DRIVER   IOMMU  NUMA  VFS  CAPABILITIES
        0000:00:03.0  1af4:1041  virtio net, vdpa  vp-vdpa  5      0     -    \
        virtio[common isr device notify pci-access] MSI-X

        VDPA DEVICE  BUS DRIVER  OVERRIDE    PARENT            PCI FUNCTION  NODE
        vdpa0        vhost_vdpa  vhost_vdpa  pci/0000:00:03.0  0000:00:03.0  /dev/vhost-vdpa-2

        """)
  }

  @Test func theFunctionNamesItsDevice() throws {
    let run = try scan(Self.vdpaDevice + Self.virtioNet, ["-j", "device", "scan"])
    let function = try #require((try run.object()["pci"] as? [[String: Any]])?.first)
    #expect((function["vdpa"] as? [String: Any])?["devices"] as? [String] == ["vdpa0"])
  }

  @Test func withoutVDPADevicesTheBusIsAbsent() throws {
    let run = try scan(Self.virtioNet, ["-j", "device", "scan"])
    #expect(try run.object()["vdpaBus"] as? String == "absent")
    #expect((try run.object()["pci"] as? [Any])?.count == 1)
  }
}
