internal import CLinux

/// One walk over the descriptors of a chain, in the ring and in its indirect table.
///
/// Everything is written by the guest, at any time. A descriptor is copied once, the copy is checked, and only the copy
/// is used. The walk is bounded by the ring's size and the table's length, and leaves behind private values only.
struct ChainWalk {
  /// Which of a chain's buffers the device has to do with.
  enum Purpose {
    /// Those that it reads.
    case read
    /// Those that it writes; there must be no others.
    case write
    /// All.
    case both
  }

  /// The most descriptors of a chain that has an indirect table. A chain may not be longer than the ring (virtio 1.2,
  /// §2.7.5.3.1), but drivers of small rings do not keep to that; this is the longest that the field makes.
  static let maxIndirect = 1024

  /// The chain's id: split, the index of its head; packed, the buffer id.
  var id: UInt16 = 0
  /// How many descriptors of the ring it takes, as far as it was walked.
  var descriptors = 0
  /// How many descriptors were looked at, those of the table included.
  var visits = 0
  /// How many descriptors the chain has, those of its table in place of the one that names it, as far as it was walked.
  @inline(__always) var links: Int { visits > descriptors ? visits &- 1 : visits }
  /// The length of the buffers that the device reads, in bytes.
  var readable = 0
  /// The length of the buffers that the device writes, in bytes, as far as they were walked.
  var writable = 0
  /// How many pieces the former are.
  var readableSegments = 0

  /// Walks the chain that was announced at a position, and adds its pieces to a list.
  ///
  /// - Parameters:
  ///   - head: The index of its first descriptor, if it is not to be looked up.
  ///   - readLimit: When the readable buffers are longer, they are counted but not looked up.
  ///   - writeLimit: So many bytes to write; what lies behind them is not touched, so it need not be looked up.
  ///   - segments: Readable pieces come first.
  /// - Returns: What is wrong with the chain. The list is then to be truncated.
  @inline(__always) mutating func walk<Area: RingArea>(
    _ area: Area, at position: UInt16, head: Int? = nil, for purpose: Purpose, readLimit: Int, writeLimit: Int,
    hasIndirect: Bool, memory: inout MemoryView, segments: SegmentList
  ) -> RingFault {
    var index = head ?? area.head(at: position)
    id = UInt16(truncatingIfNeeded: index)
    var wanted = writeLimit
    var hasWritable = false
    // The table that the walk is in, with its length in descriptors; without one it is in the ring.
    var table: UInt64 = 0
    var tableCount = 0
    var tableVisits = 0
    while true {
      let descriptor: RingDescriptor
      visits &+= 1
      if tableCount == 0 {
        guard index < area.size else { return .descriptorIndex }
        guard descriptors < area.size else { return .chainLoop }
        descriptors &+= 1
        descriptor = area.descriptor(index)
        if Area.isSequential { id = descriptor.link }
        if descriptor.isIndirect {
          guard hasIndirect else { return .indirect }
          guard !descriptor.hasNext, descriptor.length > 0, descriptor.length % 16 == 0 else { return .indirectTable }
          table = descriptor.address
          tableCount = Int(descriptor.length / 16)
          index = 0
          continue
        }
      } else {
        guard index < tableCount else { return .descriptorIndex }
        tableVisits &+= 1
        guard tableVisits <= min(tableCount, max(area.size, ChainWalk.maxIndirect)) else { return .chainLoop }
        guard let halves = memory.readHalves(at: table &+ UInt64(index) &* 16) else { return .unmapped }
        descriptor = Area.descriptor(halves.low, halves.high)
        guard !descriptor.isIndirect else { return .indirectTable }
      }

      let length = Int(descriptor.length)
      // DPDK's driver of packed rings says of the header of a packet that it sends in a table that the device writes it (as
      // of 22.11), and its own back-end does not look. On a ring that only ever has buffers to be read there is nothing
      // else that it could mean.
      let isWritable = descriptor.isWritable && !(Area.isSequential && tableCount > 0 && purpose == .read)
      if isWritable {
        hasWritable = true
        if purpose != .read {
          let bytes = min(length, wanted)
          let fault = segments.append(descriptor.address, length: bytes, for: .write, memory: &memory)
          guard fault == .none else { return fault }
          wanted &-= bytes
        }
        writable &+= length
      } else {
        guard purpose != .write, !hasWritable else { return .descriptorOrder }
        readable &+= length
        if readable <= readLimit {
          let before = segments.count
          let fault = segments.append(descriptor.address, length: length, for: .read, memory: &memory)
          guard fault == .none else { return fault }
          readableSegments &+= segments.count &- before
        }
      }

      // The id of a chain in a packed ring stands in its last descriptor, so it is walked to its end.
      if purpose == .write && wanted == 0 && (!Area.isSequential || tableCount > 0) { return .none }
      if tableCount > 0 && Area.isSequential {
        index &+= 1
        guard index < tableCount else { return .none }
      } else {
        guard descriptor.hasNext else { return .none }
        index = tableCount > 0 ? Int(descriptor.link) : area.next(index, descriptor)
      }
    }
  }
}
