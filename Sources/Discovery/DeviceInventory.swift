/// What a scan found.
public struct DeviceInventory: Hashable, Sendable {
  /// What is known of the kernel's vdpa bus.
  public enum BusState: Hashable, Sendable {
    /// There is a bus, with or without devices.
    case present
    /// There is no such bus: its module is not loaded.
    case absent
    /// It was not looked for, since a recording holds PCI functions only.
    case notScanned
  }

  /// The virtio-compatible or vDPA-capable PCI functions, by address.
  public let pciFunctions: [PCIFunction]
  /// How many PCI functions were looked at to find them.
  public let examinedFunctions: Int
  /// Whether there is a kernel's vdpa bus.
  public let vdpaBus: BusState
  /// The devices of the kernel's vdpa bus, by name.
  public let vdpaDevices: [VDPADevice]
  /// What could not be looked at, in words. A problem of one function found is with the function.
  public let problems: [String]
}
