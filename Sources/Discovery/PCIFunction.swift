/// A PCI function that is virtio-compatible or vDPA-capable, and what is known of it.
public struct PCIFunction: Hashable, Sendable {
  /// The virtio device that a function's ids name (virtio 1.2, section 4.1.2).
  public struct Virtio: Hashable, Sendable {
    /// The device type.
    public let type: VirtioDeviceType
    /// Whether the device also has the legacy interface: its device id is 0x1000 to 0x103f.
    public let isTransitional: Bool
  }

  /// What a function has to do with the kernel's vdpa bus.
  public struct VDPASupport: Hashable, Sendable {
    /// The driver that puts the function's devices on the bus, or would; nil where only a device on the bus tells.
    public let driver: String?
    /// The module that `driver` needs besides itself to do so, such as `mlx5_vdpa`. Whether this very function can is
    /// known to that module only.
    public let companionModule: String?
    /// The names of the devices on the bus whose parent the function is.
    public let devices: [String]
  }

  /// The counts of an SR-IOV capability.
  public struct VirtualFunctions: Hashable, Sendable {
    /// How many virtual functions there can be.
    public let total: Int
    /// How many there are.
    public let enabled: Int
  }

  /// Where the function is.
  public let address: PCIAddress
  /// The vendor id.
  public let vendorID: UInt16
  /// The device id.
  public let deviceID: UInt16
  /// The subsystem's vendor id, 0 where there is none.
  public let subsystemVendorID: UInt16
  /// The subsystem's device id, 0 where there is none.
  public let subsystemDeviceID: UInt16
  /// The class code: class, subclass and programming interface, 24 bits.
  public let classCode: UInt32
  /// The revision id.
  public let revision: UInt8
  /// The virtio device its ids name; nil where they name none.
  public let virtio: Virtio?
  /// Its part in the kernel's vdpa bus; nil where it has none.
  public let vdpa: VDPASupport?
  /// The capability list with the extended one; nil where it could not be read, which `problems` explains.
  public let capabilities: [PCICapability]?
  /// The well-formed virtio capabilities, in the order of the list. The first of a kind is the one that counts.
  public let virtioCapabilities: [VirtioPCICapability]
  /// The kernel driver bound to it.
  public let driver: String?
  /// The number of its IOMMU group.
  public let iommuGroup: Int?
  /// The NUMA node it is closest to; nil where the machine does not say.
  public let numaNode: Int?
  /// Its SR-IOV counts; nil for a function without SR-IOV.
  public let virtualFunctions: VirtualFunctions?
  /// The function it is a virtual function of.
  public let physicalFunction: PCIAddress?
  /// What is wrong with it or could not be found out, in words.
  public let problems: [String]

  /// Whether a virtio driver can drive it: its ids say so, or it has the virtio capabilities a driver needs.
  public var isVirtioCompatible: Bool { virtio != nil || PCIConfigurationSpace.isDriveable(virtioCapabilities) }
}

extension PCIFunction.Virtio {
  /// The vendor id of virtio devices.
  private static let vendor: UInt16 = 0x1af4

  /// Reads the ids; nil where they are no virtio device's.
  init?(vendor: UInt16, device: UInt16, subsystemDevice: UInt16) {
    guard vendor == Self.vendor else { return nil }
    switch device {
    case 0x1000...0x103f: self.init(type: VirtioDeviceType(rawValue: subsystemDevice), isTransitional: true)
    case 0x1040...0x107f: self.init(type: VirtioDeviceType(rawValue: device - 0x1040), isTransitional: false)
    default: return nil
    }
  }
}

extension PCIFunction.VDPASupport {
  /// The drivers in the kernel that put devices on the vdpa bus, by the names that sysfs has for them (modules are
  /// called otherwise), with the module that does it where it is another.
  private static let drivers: [String: String?] = [
    "ifcvf": nil, "vp-vdpa": nil, "alibaba-eni-vdpa": nil, "octep_vdpa": nil, "snet-vdpa-driver": nil,
    "mlx5_core": "mlx5_vdpa", "pds_core": "pds_vdpa",
  ]

  /// What is known of a function with this driver and these devices; nil where neither has to do with the bus.
  init?(driver: String?, devices: [String]) {
    if let driver, let companion = Self.drivers[driver] {
      self.init(driver: driver, companionModule: companion, devices: devices)
    } else if !devices.isEmpty {
      self.init(driver: nil, companionModule: nil, devices: devices)
    } else {
      return nil
    }
  }
}
