public import SystemPackage

/// Looks for virtio-compatible and vDPA-capable PCI functions, and for the devices of the kernel's vdpa bus.
///
/// A scan reads and changes nothing. It needs no privileges, but without them the kernel shows only the first 64 bytes
/// of configuration space, so that capabilities cannot be read; the functions then say so.
public struct DeviceScanner: Sendable {
  /// Where to look.
  public enum Source: Hashable, Sendable {
    /// This machine: `/sys`, and libudev.
    case system
    /// A sysfs tree at another place, such as a copy.
    case sysfs(root: FilePath)
    /// A file as `lspci -xxx` or `lspci -xxxx` writes it. It holds PCI functions and their configuration space only:
    /// no drivers, no IOMMU groups, no sizes of BARs, and no vdpa bus.
    case recording(FilePath)
  }

  /// Where to look.
  public let source: Source

  /// Makes a scanner of `source`.
  public init(source: Source = .system) { self.source = source }

  /// Scans once.
  ///
  /// A function that cannot be read, or goes meanwhile, is a problem in the inventory and no error.
  /// - Throws: `DiscoveryError` where nothing can be listed: no sysfs tree at the given place, no recording in the given
  ///   file, or libpci or libudev failed.
  public func scan() throws(DiscoveryError) -> DeviceInventory {
    switch source {
    case .system: try scan(sysfs: "/sys", usesUdev: true)
    case .sysfs(let root): try scan(sysfs: root, usesUdev: false)
    case .recording(let file): try scan(recording: file)
    }
  }

  private func scan(sysfs root: FilePath, usesUdev: Bool) throws(DiscoveryError) -> DeviceInventory {
    guard try Sysfs.names(root.appending("bus")) != nil else {
      throw DiscoveryError(.sysfs, root.string, "this is no sysfs tree: it has no directory bus")
    }
    let (state, devices) = try VDPABusReader(root: root, usesUdev: usesUdev).read()
    var functions: [PCIFunction] = []
    var problems: [String] = []
    var examined = 0
    // A machine without PCI has no such directory; libpci would make an error of it.
    let pci = root.appending("bus").appending("pci")
    if let names = try Sysfs.names(pci.appending("devices")) {
      // libpci would stop at such an entry too, but leave the directory open.
      if let odd = names.first(where: { PCIAddress($0.string) == nil }) {
        throw DiscoveryError(.sysfs, pci.appending("devices").appending(odd).string, "this is no PCI address")
      }
      let reader = PCIFunctionReader(sysfs: pci.appending("devices"), vdpaDevices: devices)
      let bus = try PCIBus(.sysfs(pci))
      examined = bus.count
      functions = reader.read(bus, problems: &problems)
    }
    return DeviceInventory(
      pciFunctions: functions, examinedFunctions: examined, vdpaBus: state, vdpaDevices: devices, problems: problems)
  }

  private func scan(recording file: FilePath) throws(DiscoveryError) -> DeviceInventory {
    let bus = try PCIBus(.recording(file))
    // libpci skips the lines it does not understand: in a file of another kind it finds nothing.
    guard bus.count > 0 else {
      throw DiscoveryError(.recording, file.string, "there is no PCI function in it; record one with `lspci -xxx`")
    }
    var problems: [String] = []
    let functions = PCIFunctionReader(sysfs: nil, vdpaDevices: []).read(bus, problems: &problems)
    return DeviceInventory(
      pciFunctions: functions, examinedFunctions: bus.count, vdpaBus: .notScanned, vdpaDevices: [],
      problems: problems)
  }
}
