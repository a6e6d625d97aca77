import Virtio

/// In which address space a front-end names the parts of a ring.
enum RingAddressing {
  /// In that of its own process.
  case user
  /// In that of the device: guest physical addresses (GPA_ADDRESSES), or IO virtual ones (ACCESS_PLATFORM).
  case device

  /// The address by which devices reach a piece of a ring.
  ///
  /// - Returns: nil when the piece does not lie in one range of memory.
  func resolve(_ address: UInt64, length: UInt64, in memory: GuestMemory) -> UInt64? {
    switch self {
    case .user: memory.guestAddress(ofUser: address, length: length)
    case .device: memory.addressMap.hasRange(around: address, length: length) ? address : nil
    }
  }

  /// Whether what does not resolve now may do so later: the front-end can be asked for the translation.
  func mayWait(in memory: GuestMemory) -> Bool { self == .device && memory.isTranslated }
}
