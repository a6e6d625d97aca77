public import SystemPackage

/// A device of the kernel's vdpa bus.
public struct VDPADevice: Hashable, Sendable {
  /// The device a vdpa device hangs from.
  public struct Parent: Hashable, Sendable {
    /// Its name, such as `0000:03:00.2` or `mlx5_core.sf.4`.
    public let name: String
    /// The bus it is on, such as `pci` or `auxiliary`; nil for a device without one.
    public let bus: String?
  }

  /// Its name on the bus.
  public let name: String
  /// The bus driver that has claimed it, `vhost_vdpa` or `virtio_vdpa`; nil while none has.
  public let busDriver: String?
  /// The only bus driver that may claim it; nil where any may.
  public let driverOverride: String?
  /// The device that it hangs from; nil for one without, as those of the kernel's simulator are.
  public let parent: Parent?
  /// The nearest PCI function among its ancestors.
  public let pciFunction: PCIAddress?
  /// Its device node when `vhost_vdpa` has claimed it, such as `/dev/vhost-vdpa-0`.
  public let node: FilePath?
}
