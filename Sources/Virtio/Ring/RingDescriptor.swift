/// A descriptor as it was when it was read: a private copy, whatever becomes of the one in shared memory (virtio 1.2,
/// §2.7.5 and §2.8.13).
package struct RingDescriptor: Equatable {
  /// The guest address of the buffer.
  package var address: UInt64
  /// The buffer's length in bytes.
  package var length: UInt32
  package var flags: UInt16
  /// Split: the index of the chain's next descriptor. Packed: the buffer id.
  package var link: UInt16

  /// `VIRTQ_DESC_F_NEXT`
  package static let next: UInt16 = 1
  /// `VIRTQ_DESC_F_WRITE`: the device writes.
  package static let write: UInt16 = 2
  /// `VIRTQ_DESC_F_INDIRECT`
  package static let indirect: UInt16 = 4
  /// `VIRTQ_DESC_F_AVAIL` (packed)
  package static let avail: UInt16 = 1 << 7
  /// `VIRTQ_DESC_F_USED` (packed)
  package static let used: UInt16 = 1 << 15

  package init(address: UInt64, length: UInt32, flags: UInt16, link: UInt16 = 0) {
    self.address = address
    self.length = length
    self.flags = flags
    self.link = link
  }

  @inline(__always) var hasNext: Bool { flags & RingDescriptor.next != 0 }
  @inline(__always) var isWritable: Bool { flags & RingDescriptor.write != 0 }
  @inline(__always) var isIndirect: Bool { flags & RingDescriptor.indirect != 0 }
}

/// A chain of one descriptor: all that most packets are.
struct SingleDescriptor {
  let address: UInt64
  let length: UInt32
  /// What the chain is returned by.
  let id: UInt16
}
