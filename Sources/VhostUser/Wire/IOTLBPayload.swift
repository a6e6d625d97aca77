package import Virtio

/// `IOTLB`, 32 bytes: a translation of the guest's IOMMU, or the lack of one (vhost-user, An IOTLB message).
package struct IOTLBPayload: Payload {
  /// What the message says of the range.
  package enum Kind: UInt8, Sendable {
    /// The back-end lacks a translation.
    case miss = 1
    /// The front-end brings one.
    case update = 2
    /// The front-end takes back all that lies in the range.
    case invalidate = 3
    /// The back-end was told that it may not do what it wanted.
    case accessFailure = 4
  }

  package static let byteCount = 32

  /// The first IO virtual address.
  package var address: UInt64
  /// Bytes. An invalidation of everything, 2⁶⁴ bytes, is sent as 0 at address 0, or as all but the last byte.
  package var size: UInt64
  /// Where the front-end's process sees the memory.
  package var userAddress: UInt64
  /// What may be done there (update), or was wanted (miss); empty for an invalidation.
  package var access: AddressMap.Access
  package var kind: Kind

  package init(
    _ kind: Kind, address: UInt64, size: UInt64, userAddress: UInt64 = 0, access: AddressMap.Access = []
  ) {
    self.kind = kind
    self.address = address
    self.size = size
    self.userAddress = userAddress
    self.access = access
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    address = try reader.u64()
    size = try reader.u64()
    userAddress = try reader.u64()
    let access = try reader.u8()
    let kind = try reader.u8()
    try reader.skip(6)
    guard let known = Kind(rawValue: kind) else {
      throw VhostUserError(.malformed, "unknown IOTLB message type \(kind)")
    }
    guard access <= AddressMap.Access.readWrite.rawValue else {
      throw VhostUserError(.malformed, "unknown IOTLB permission bits 0x\(String(access, radix: 16))")
    }
    self.kind = known
    self.access = AddressMap.Access(rawValue: access)
    guard known != .update || size > 0 else { throw VhostUserError(.malformed, "an IOTLB update of an empty range") }
    // A range may end with the address space.
    for (what, start) in [("IOVA", address), ("user address", userAddress)] where size > 0 {
      guard start.addingReportingOverflow(size - 1).overflow == false || known == .invalidate else {
        throw VhostUserError(
          .malformed,
          "an IOTLB range wraps around: \(what) 0x\(String(start, radix: 16)), size 0x\(String(size, radix: 16))")
      }
    }
  }

  package func write(to writer: inout WireWriter) {
    writer.append(address)
    writer.append(size)
    writer.append(userAddress)
    writer.append(access.rawValue)
    writer.append(kind.rawValue)
    writer.append([UInt8](repeating: 0, count: 6))
  }
}
