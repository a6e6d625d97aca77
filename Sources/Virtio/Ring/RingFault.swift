/// Why a ring is broken: what a driver wrote into it that no correct driver writes, or that its memory is gone.
///
/// A broken ring stays broken until it is stopped and started again; nothing more is fetched from it.
public enum RingFault: UInt8, Sendable, Hashable, CustomStringConvertible {
  /// The ring is in order.
  case none
  /// The available index has run ahead by more than the ring holds.
  case availableIndex
  /// A head or a `next` field names a descriptor that the ring does not have.
  case descriptorIndex
  /// A chain, or the chains that one packet is written to together, have more descriptors than the ring: they loop or
  /// share descriptors.
  case chainLoop
  /// A chain has an indirect table, which was not negotiated.
  case indirect
  /// An indirect table has no length, or one that is no number of descriptors, stands in another table, or is followed by
  /// further descriptors.
  case indirectTable
  /// A descriptor that the device reads comes after one that it writes, or stands where only the latter may be.
  case descriptorOrder
  /// A buffer is not, or not entirely, in guest memory.
  case unmapped
  /// A buffer is shorter than the header of its device type.
  case shortBuffer
  /// A packet or chain is scattered over more pieces of memory than are kept track of.
  case tooManySegments
  /// The front-end has taken back pages of memory that it had shared.
  case memoryLost
  /// A chain of the in-flight record has other descriptors than it says.
  case inflightRecord

  /// The reason in words.
  public var description: String {
    switch self {
    case .none: "in order"
    case .availableIndex: "the available index is ahead by more than the ring's size"
    case .descriptorIndex: "a descriptor index is not below the ring's size"
    case .chainLoop: "descriptor chains are longer than the ring (a loop, or shared descriptors)"
    case .indirect: "a descriptor is indirect, which was not negotiated"
    case .indirectTable: "an indirect table has a bad length, is nested, or has something behind it"
    case .descriptorOrder: "a device-readable descriptor stands where a device-writable one must be"
    case .unmapped: "a buffer lies outside of guest memory"
    case .shortBuffer: "a buffer is shorter than the packet header"
    case .tooManySegments: "a chain is scattered over more than \(SegmentList.capacity) pieces of memory"
    case .memoryLost: "guest memory is gone"
    case .inflightRecord: "a chain of the in-flight record is not what the record says"
    }
  }
}
