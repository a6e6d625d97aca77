import SystemPackage

/// Picks the functions of interest out of a PCI bus and reads what is known of them.
struct PCIFunctionReader {
  /// `bus/pci/devices` of a sysfs tree; nil for a recording.
  let sysfs: FilePath?
  /// The devices of the vdpa bus, whose parents are of interest.
  let vdpaDevices: [VDPADevice]

  func read(_ bus: PCIBus, problems: inout [String]) -> [PCIFunction] {
    var found: [PCIFunction] = []
    for index in 0..<bus.count {
      do {
        if let function = try function(at: index, of: bus) { found.append(function) }
      } catch {
        problems.append("\(error)")
      }
    }
    return found.sorted { $0.address < $1.address }
  }

  /// The function at `index`, or nil where it is neither virtio-compatible nor vDPA-capable.
  private func function(at index: Int, of bus: PCIBus) throws(DiscoveryError) -> PCIFunction? {
    let identity = try bus.identity(at: index)
    let directory = sysfs?.appending(identity.address.description)
    let driver = directory.flatMap { Sysfs.linkName($0.appending("driver")) }
    let virtio = PCIFunction.Virtio(
      vendor: identity.vendor, device: identity.device, subsystemDevice: identity.subsystemDevice)
    let vdpa = PCIFunction.VDPASupport(
      driver: driver, devices: vdpaDevices.filter { $0.pciFunction == identity.address }.map(\.name))

    let (space, reason) = bus.configurationSpace(at: index)
    var problems: [String] = []
    let capabilities = self.capabilities(of: space, reason: reason, problems: &problems)
    var virtioProblems: [String] = []
    let virtioCapabilities = space.virtioCapabilities(
      capabilities ?? [], barSizes: barSizes(at: index, of: bus, problems: &problems), problems: &virtioProblems)
    let isDriveable = PCIConfigurationSpace.isDriveable(virtioCapabilities)
    guard virtio != nil || vdpa != nil || isDriveable else { return nil }

    // Vendor-specific capabilities are virtio's only where the function is.
    let isVirtio = virtio != nil || isDriveable
    if isVirtio { problems += virtioProblems }
    if let virtio, !virtio.isTransitional, capabilities != nil, !isDriveable {
      problems.append("no virtio driver can drive it: it lacks a usable common, notify or isr capability")
    }
    return PCIFunction(
      address: identity.address, vendorID: identity.vendor, deviceID: identity.device,
      subsystemVendorID: identity.subsystemVendor, subsystemDeviceID: identity.subsystemDevice,
      classCode: identity.classCode, revision: identity.revision, virtio: virtio, vdpa: vdpa,
      capabilities: capabilities, virtioCapabilities: isVirtio ? virtioCapabilities : [], driver: driver,
      iommuGroup: directory.flatMap { Sysfs.linkName($0.appending("iommu_group")) }.flatMap { Int($0) },
      // The kernel writes -1 where the firmware names no node.
      numaNode: directory.flatMap { Sysfs.number($0.appending("numa_node")) }.flatMap { $0 < 0 ? nil : $0 },
      virtualFunctions: virtualFunctions(directory, space, capabilities ?? []),
      physicalFunction: directory.flatMap { Sysfs.linkName($0.appending("physfn")) }.flatMap { PCIAddress($0) },
      problems: problems)
  }

  private func capabilities(
    of space: PCIConfigurationSpace, reason: String?, problems: inout [String]
  ) -> [PCICapability]? {
    guard space.isPresent else {
      problems.append(
        space.bytes.isEmpty
          ? "configuration space not readable" + (reason.map { ": \($0)" } ?? "")
          : "the function does not answer: its configuration space reads as all ones")
      return nil
    }
    guard !space.hasCapabilityList || space.isCapabilityListReadable else {
      problems.append(
        sysfs == nil
          ? "capabilities not readable: the recording ends after 64 bytes, make it with `lspci -xxx` as root"
          : "capabilities not readable: the kernel shows them to root only (CAP_SYS_ADMIN), run as root")
      return nil
    }
    return space.capabilities(problems: &problems)
  }

  /// nil where the sizes are unknown: in a recording, or where the kernel's list cannot be read.
  private func barSizes(at index: Int, of bus: PCIBus, problems: inout [String]) -> [UInt64]? {
    guard sysfs != nil else { return nil }
    do {
      return try bus.barSizes(at: index)
    } catch {
      problems.append("sizes of BARs unknown: \(error.reason)")
      return nil
    }
  }

  private func virtualFunctions(
    _ directory: FilePath?, _ space: PCIConfigurationSpace, _ capabilities: [PCICapability]
  ) -> PCIFunction.VirtualFunctions? {
    guard let directory else { return space.virtualFunctions(capabilities) }
    guard let total = Sysfs.number(directory.appending("sriov_totalvfs")) else { return nil }
    return PCIFunction.VirtualFunctions(
      total: total, enabled: Sysfs.number(directory.appending("sriov_numvfs")) ?? 0)
  }
}
