/// A piece of guest memory as a front-end describes it (vhost-user, Memory region description).
public struct MemoryRegion: Sendable, Hashable, CustomStringConvertible {
  /// Where the guest sees it: a guest physical address in bytes.
  public let guestAddress: UInt64
  /// Its length in bytes, not 0.
  public let size: UInt64
  /// Where the front-end's own process sees it; ring addresses are given in this space.
  public let userAddress: UInt64
  /// Where it starts in its memory file, in bytes.
  public let fileOffset: UInt64

  /// A region whose ends can be computed.
  ///
  /// - Throws: ``VirtioError`` `regionOutOfRange`, when the size is 0 or an end does not fit into 64 bits.
  public init(guestAddress: UInt64, size: UInt64, userAddress: UInt64, fileOffset: UInt64) throws(VirtioError) {
    self.guestAddress = guestAddress
    self.size = size
    self.userAddress = userAddress
    self.fileOffset = fileOffset
    let limit = UInt64(Int64.max)
    guard size > 0, size <= limit, fileOffset <= limit - size,
      !guestAddress.addingReportingOverflow(size).overflow, !userAddress.addingReportingOverflow(size).overflow
    else {
      throw VirtioError(
        .regionOutOfRange, "memory region \(self): its size is 0 or its end exceeds the address space")
    }
  }

  /// The first guest address behind the region.
  public var guestEnd: UInt64 { guestAddress &+ size }

  /// `guest 0x0+0x80000000 user 0x7f… offset 0x0`.
  public var description: String {
    func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
    return "guest \(hex(guestAddress))+\(hex(size)) user \(hex(userAddress)) offset \(hex(fileOffset))"
  }
}
