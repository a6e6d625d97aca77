/// An entry of a function's capability list, or of its extended one (PCI Local Bus 3.0, section 6.7; PCI Express,
/// section 7.6).
public struct PCICapability: Hashable, Sendable {
  /// The capability's id: 8 bits in the list, 16 in the extended one.
  public let id: UInt16
  /// Whether it stands in the extended list, from byte 256 on.
  public let isExtended: Bool
  /// Where it starts, in bytes of configuration space.
  public let offset: Int

  /// The customary short name, as `lspci` users know it; the id in hexadecimal where there is none.
  public var name: String {
    (isExtended ? Self.extendedNames[id] : Self.names[id]) ?? (isExtended ? "ext-0x" : "0x") + id.hexadecimal(2)
  }

  static let vendorSpecific: UInt16 = 0x09
  static let singleRootIOV: UInt16 = 0x10

  private static let names: [UInt16: String] = [
    0x01: "PM", 0x02: "AGP", 0x03: "VPD", 0x04: "slot-id", 0x05: "MSI", 0x07: "PCI-X", 0x08: "HyperTransport",
    0x09: "vendor", 0x0a: "debug-port", 0x0c: "hotplug", 0x0d: "subsystem-id", 0x10: "PCIe", 0x11: "MSI-X",
    0x12: "SATA", 0x13: "AF", 0x14: "EA",
  ]

  private static let extendedNames: [UInt16: String] = [
    0x01: "AER", 0x02: "VC", 0x03: "serial-number", 0x04: "power-budget", 0x0b: "ext-vendor", 0x0d: "ACS",
    0x0e: "ARI", 0x0f: "ATS", 0x10: "SR-IOV", 0x12: "multicast", 0x13: "PRI", 0x15: "resizable-BAR", 0x16: "DPA",
    0x17: "TPH", 0x18: "LTR", 0x19: "secondary-PCIe", 0x1b: "PASID", 0x1d: "DPC", 0x1e: "L1-PM", 0x1f: "PTM",
    0x22: "readiness", 0x23: "DVSEC", 0x24: "VF-resizable-BAR", 0x25: "data-link", 0x26: "16GT", 0x27: "margining",
    0x2a: "32GT", 0x2e: "DOE",
  ]
}
