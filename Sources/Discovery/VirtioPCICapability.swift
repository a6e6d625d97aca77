/// A virtio capability of a PCI function: it says where in which BAR one of the device's structures is (virtio 1.2,
/// section 4.1.4). Only well-formed ones exist as values; a malformed one is reported among the function's problems.
public struct VirtioPCICapability: Hashable, Sendable {
  /// Which structure it locates (`cfg_type`).
  public struct Kind: RawRepresentable, Hashable, Sendable {
    /// The number in configuration space.
    public let rawValue: UInt8

    /// Makes a kind of its number.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The common configuration.
    public static let common = Kind(rawValue: 1)
    /// The doorbells.
    public static let notify = Kind(rawValue: 2)
    /// The interrupt status.
    public static let isr = Kind(rawValue: 3)
    /// The configuration of the device type.
    public static let device = Kind(rawValue: 4)
    /// The window through which configuration space reaches the BARs.
    public static let pciAccess = Kind(rawValue: 5)
    /// A shared memory region.
    public static let sharedMemory = Kind(rawValue: 8)
    /// Data of the vendor's own.
    public static let vendor = Kind(rawValue: 9)

    /// A short name; the number where the standard has none.
    public var name: String {
      switch self {
      case .common: "common"
      case .notify: "notify"
      case .isr: "isr"
      case .device: "device"
      case .pciAccess: "pci-access"
      case .sharedMemory: "shared-memory"
      case .vendor: "vendor"
      default: "type-\(rawValue)"
      }
    }
  }

  /// A part of a BAR.
  public struct Region: Hashable, Sendable {
    /// The number of the BAR, 0 to 5.
    public let bar: UInt8
    /// Where the structure starts, in bytes from the start of the BAR.
    public let offset: UInt64
    /// How long it is, in bytes.
    public let length: UInt64
  }

  /// Which structure it locates.
  public let kind: Kind
  /// Where the capability itself is, in bytes of configuration space.
  public let position: Int
  /// Tells apart several of one kind; the id of a shared memory region.
  public let id: UInt8
  /// Where the structure is; nil for a kind that locates none: `pciAccess`, `vendor` and those the standard does not name.
  public let region: Region?
  /// `notify` only: bytes between two doorbells, multiplied with a queue's `queue_notify_off`. 0 means that all queues
  /// share one.
  public let notifyMultiplier: UInt32?
}
