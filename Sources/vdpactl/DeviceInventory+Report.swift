import Discovery
import SystemPackage

extension DeviceInventory {
  /// What `vdpactl device scan` prints for people.
  func report() -> String {
    [pciReport, vdpaReport, problemReport].compactMap { $0 }.joined(separator: "\n")
  }

  private var pciReport: String {
    guard !pciFunctions.isEmpty else {
      if examinedFunctions == 0, problems.isEmpty {
        return "No PCI function: this machine has no PCI bus, or this container does not see it.\n"
      }
      return """
        No PCI function is virtio-compatible or vDPA-capable; \(examinedFunctions) looked at.
        A function whose driver makes it so only counts with the driver bound: see `lspci -k`.

        """
    }
    var table = Table(["PCI FUNCTION", "ID", "TYPE", "DRIVER", "IOMMU", "NUMA", "VFS", "CAPABILITIES"])
    for function in pciFunctions {
      table.add([
        function.address.description,
        function.vendorID.hexadecimal(4) + ":" + function.deviceID.hexadecimal(4),
        function.typeColumn,
        function.driver,
        function.iommuGroup.map { "\($0)" },
        function.numaNode.map { "\($0)" },
        function.virtualFunctions.map { "\($0.enabled)/\($0.total)" },
        function.capabilityColumn,
      ])
    }
    return table.text
  }

  private var vdpaReport: String? {
    switch vdpaBus {
    case .notScanned: return nil
    case .absent:
      return "No vdpa bus: the kernel's module vdpa is not loaded (`modprobe vdpa`, or a driver that needs it).\n"
    case .present where vdpaDevices.isEmpty:
      return """
        No device on the kernel's vdpa bus. `vdpa mgmtdev show` lists what can have one, `vdpa dev add` makes it.

        """
    case .present: break
    }
    var table = Table(["VDPA DEVICE", "BUS DRIVER", "OVERRIDE", "PARENT", "PCI FUNCTION", "NODE"])
    for device in vdpaDevices {
      table.add([
        device.name, device.busDriver, device.driverOverride,
        device.parent.map { parent in (parent.bus.map { $0 + "/" } ?? "") + parent.name },
        device.pciFunction?.description, device.node?.string,
      ])
    }
    return table.text
  }

  private var problemReport: String? {
    // One line a problem, not a function: many functions tend to have the same.
    var subjects: [String: [String]] = [:]
    for function in pciFunctions {
      for problem in function.problems { subjects[problem, default: []].append(function.address.description) }
    }
    let lines =
      problems + subjects.map { $0.value.joined(separator: ", ") + ": " + $0.key }.sorted()
    return lines.isEmpty ? nil : "Problems:\n" + lines.map { "  " + Table.printable($0) + "\n" }.joined()
  }
}

extension PCIFunction {
  fileprivate var typeColumn: String {
    var parts: [String] = []
    if let virtio {
      parts.append("virtio " + virtio.type.name + (virtio.isTransitional ? " (transitional)" : ""))
    } else if isVirtioCompatible {
      parts.append("virtio")
    }
    if let vdpa {
      parts.append("vdpa" + (vdpa.companionModule.map { " (with \($0))" } ?? ""))
    }
    return parts.joined(separator: ", ")
  }

  /// The structures of virtio in brackets, then the other capabilities that matter to one who binds the function.
  fileprivate var capabilityColumn: String {
    guard let capabilities else { return "not readable" }
    var parts: [String] = []
    if !virtioCapabilities.isEmpty {
      parts.append("virtio[" + virtioCapabilities.map(\.kind.name).joined(separator: " ") + "]")
    }
    let shown: Set<String> = ["MSI", "MSI-X", "PCIe", "SR-IOV", "ATS", "PRI", "PASID", "ACS"]
    for name in capabilities.map(\.name) where shown.contains(name) && !parts.contains(name) { parts.append(name) }
    return parts.joined(separator: " ")
  }
}
