import SystemPackage

/// Reads the devices of the kernel's vdpa bus from a sysfs tree.
struct VDPABusReader {
  let root: FilePath
  /// Whether libudev lists the devices. It knows `/sys` only.
  let usesUdev: Bool

  func read() throws(DiscoveryError) -> (DeviceInventory.BusState, [VDPADevice]) {
    let list = root.appending("bus").appending("vdpa").appending("devices")
    let names = try Sysfs.names(list)
    let directories =
      if usesUdev {
        try UdevEnumeration.devices(subsystem: "vdpa")
      } else {
        (names ?? []).map { Sysfs.target(of: $0, in: list) }
      }
    var devices: [VDPADevice] = []
    for directory in directories {
      if let device = try device(at: directory) { devices.append(device) }
    }
    return (
      names == nil && devices.isEmpty ? .absent : .present,
      devices.sorted { $0.name < $1.name }
    )
  }

  /// The device of a directory below `devices`; nil where it has gone.
  private func device(at directory: FilePath) throws(DiscoveryError) -> VDPADevice? {
    guard let name = directory.lastComponent?.string, let children = try Sysfs.names(directory) else { return nil }
    // vhost_vdpa's character device has neither class nor bus, so that libudev does not list it: it is a directory of
    // the vdpa device and nothing else. Its node has its name.
    let node = children.first { child in
      child.string.hasPrefix("vhost-vdpa-") && UInt32(child.string.dropFirst("vhost-vdpa-".count)) != nil
    }
    return VDPADevice(
      name: name,
      busDriver: Sysfs.linkName(directory.appending("driver")),
      driverOverride: Sysfs.attribute(directory.appending("driver_override")),
      parent: parent(of: directory),
      pciFunction: pciFunction(above: directory),
      node: node.map { FilePath("/dev").appending($0) })
  }

  private func parent(of directory: FilePath) -> VDPADevice.Parent? {
    let above = directory.removingLastComponent()
    // A device without a parent stands in `devices` itself.
    guard above != root.appending("devices"), let name = above.lastComponent?.string else { return nil }
    return VDPADevice.Parent(name: name, bus: Sysfs.linkName(above.appending("subsystem")))
  }

  private func pciFunction(above directory: FilePath) -> PCIAddress? {
    var directory = directory
    while directory != root, directory.removeLastComponent(), let name = directory.lastComponent?.string {
      if let address = PCIAddress(name) { return address }
    }
    return nil
  }
}
