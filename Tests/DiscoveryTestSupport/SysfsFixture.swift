public import Foundation

/// A sysfs tree in a directory of its own, laid out as the kernel does it; gone with the object.
public final class SysfsFixture: Sendable {
  /// The directory that stands for `/sys`.
  public let root: URL

  /// A tree with `bus`, and nothing on it.
  public init() throws {
    root = FileManager.default.temporaryDirectory.appendingPathComponent("sysfs-\(UUID().uuidString)")
    try FileManager.default.createDirectory(
      at: root.appendingPathComponent("bus"), withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: root) }

  /// Writes a file, making its directories.
  public func write(_ path: String, _ content: Data) throws {
    let url = root.appendingPathComponent(path)
    try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try content.write(to: url)
  }

  /// Writes an attribute, with the newline the kernel ends it with.
  public func write(_ path: String, _ content: String) throws { try write(path, Data((content + "\n").utf8)) }

  /// Makes a directory.
  public func directory(_ path: String) throws {
    try FileManager.default.createDirectory(
      at: root.appendingPathComponent(path), withIntermediateDirectories: true)
  }

  /// Makes a symbolic link, with the target as it is.
  public func link(_ path: String, to target: String) throws {
    let url = root.appendingPathComponent(path)
    try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(atPath: url.path, withDestinationPath: target)
  }

  /// Adds a PCI function. The ids of the attributes are those of `configuration`, unless given: a virtual function's
  /// configuration space has none.
  public func addPCI(
    _ address: String, _ configuration: ConfigurationBytes, readableLength: Int? = nil,
    ids: (vendor: UInt16, device: UInt16)? = nil, bar4Size: UInt64 = 0x4000, driver: String? = nil,
    iommuGroup: Int? = nil, numaNode: Int = -1, virtualFunctions: (enabled: Int, total: Int)? = nil,
    physicalFunction: String? = nil
  ) throws {
    let device = "devices/pci0000:00/\(address)"
    func half(_ offset: Int) -> UInt16 {
      UInt16(configuration.bytes[offset]) | UInt16(configuration.bytes[offset + 1]) << 8
    }
    func text(_ value: UInt16) -> String { "0x" + String(format: "%04x", Int(value)) }
    try write("\(device)/vendor", text(ids?.vendor ?? half(0)))
    try write("\(device)/device", text(ids?.device ?? half(2)))
    try write("\(device)/subsystem_vendor", text(half(0x2c)))
    try write("\(device)/subsystem_device", text(half(0x2e)))
    try write("\(device)/revision", "0x" + String(format: "%02x", Int(configuration.bytes[8])))
    let classBytes = configuration.bytes[0x09...0x0b].reversed().map { String(format: "%02x", Int($0)) }
    try write("\(device)/class", "0x" + classBytes.joined())
    try write("\(device)/numa_node", "\(numaNode)")
    let none = "0x0000000000000000 0x0000000000000000 0x0000000000000000"
    let bar4 =
      bar4Size == 0
      ? none : String(format: "0x%016lx 0x%016lx 0x000000000014220c", 0xfe00_0000, 0xfe00_0000 + bar4Size - 1)
    try write("\(device)/resource", [none, none, none, none, bar4, none, none].joined(separator: "\n"))
    try write("\(device)/config", Data(configuration.bytes.prefix(readableLength ?? configuration.bytes.count)))
    try link("\(device)/subsystem", to: "../../../bus/pci")
    if let driver { try link("\(device)/driver", to: "../../../bus/pci/drivers/\(driver)") }
    if let iommuGroup { try link("\(device)/iommu_group", to: "../../../kernel/iommu_groups/\(iommuGroup)") }
    if let physicalFunction { try link("\(device)/physfn", to: "../\(physicalFunction)") }
    if let virtualFunctions {
      try write("\(device)/sriov_totalvfs", "\(virtualFunctions.total)")
      try write("\(device)/sriov_numvfs", "\(virtualFunctions.enabled)")
    }
    try link("bus/pci/devices/\(address)", to: "../../../\(device)")
  }

  /// Adds a device to the vdpa bus. `parent` is its parent's directory below `devices`.
  public func addVDPA(
    _ name: String, parent: String? = nil, parentBus: String? = nil, driver: String? = nil,
    driverOverride: String = "(null)", children: [String] = []
  ) throws {
    let device = "devices/" + (parent.map { $0 + "/" } ?? "") + name
    try write("\(device)/driver_override", driverOverride)
    if let driver { try link("\(device)/driver", to: "../bus/vdpa/drivers/\(driver)") }
    for child in children { try write("\(device)/\(child)/dev", "511:0") }
    if let parent, let parentBus,
      !FileManager.default.fileExists(
        atPath: root.appendingPathComponent("devices/\(parent)/subsystem").path)
    {
      try link("devices/\(parent)/subsystem", to: "../../bus/\(parentBus)")
    }
    try link("bus/vdpa/devices/\(name)", to: "../../../\(device)")
  }
}
