extension RingLayout {
  /// One part of a ring: where it is, and what a device does there.
  public struct Part: Sendable {
    /// What the standard calls it.
    public let name: String
    /// The first address.
    public let address: UInt64
    /// In bytes.
    public let length: Int
    /// What its address has to be a multiple of, in bytes.
    public let alignment: UInt64
    /// What a device does there.
    public let access: AddressMap.Access
  }

  /// The three parts of a ring: descriptor area, driver area, device area (virtio 1.2, §2.7 and §2.8).
  ///
  /// - Parameters:
  ///   - descriptor: Where the descriptor area is.
  ///   - avail: Where the driver area is.
  ///   - used: Where the device area is.
  public func parts(descriptor: UInt64, avail: UInt64, used: UInt64) -> [Part] {
    let names =
      format == .split
      ? ("descriptor table", "available ring", "used ring")
      : ("descriptor ring", "driver event suppression area", "device event suppression area")
    return [
      // The device writes the descriptors of a packed ring.
      Part(
        name: names.0, address: descriptor, length: descriptorBytes, alignment: RingLayout.descriptorAlignment,
        access: format == .split ? .read : .readWrite),
      Part(name: names.1, address: avail, length: availBytes, alignment: format.availAlignment, access: .read),
      Part(name: names.2, address: used, length: usedBytes, alignment: format.usedAlignment, access: .readWrite),
    ]
  }
}
