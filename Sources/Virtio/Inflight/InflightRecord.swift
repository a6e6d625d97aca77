public import SystemPackage

/// The record of the requests that a back-end's device has, in memory that the front-end keeps when the back-end dies
/// (vhost-user, Inflight I/O tracking).
///
/// Whoever has the file can write anything into it at any time. It is read once, when a ring starts, into private copies;
/// from then on it is only written.
@safe public final class InflightRecord: Sendable {
  /// What is where in it.
  public let layout: InflightLayout
  private let mapping: MemoryMapping

  /// Maps a record.
  ///
  /// - Parameters:
  ///   - file: The shared file; it may be closed afterwards.
  ///   - offset: Where the record begins in it, in bytes.
  ///   - size: How many bytes of it are the record; more than the layout needs are left alone.
  ///   - layout: What is where in it.
  ///   - policy: Which kinds of file are accepted.
  /// - Throws: ``VirtioError`` `badInflightRecord`, when the record is misaligned or too small for the layout, or its file
  ///   cannot be mapped.
  public init(
    file: FileDescriptor, offset: UInt64, size: UInt64, layout: InflightLayout,
    policy: MemoryMapping.FilePolicy = .memoryOnly
  ) throws(VirtioError) {
    guard offset % UInt64(InflightLayout.alignment) == 0 else {
      throw VirtioError(
        .badInflightRecord,
        "the in-flight record begins at offset \(offset), which is not a multiple of \(InflightLayout.alignment) bytes")
    }
    guard size >= UInt64(layout.bytes) else {
      throw VirtioError(
        .badInflightRecord,
        "the in-flight record has \(size) bytes; \(layout.queues) rings of \(layout.queueSize) descriptors need "
          + "\(layout.bytes)")
    }
    do throws(VirtioError) {
      let part = try MemoryRegion(
        guestAddress: 0, size: UInt64(layout.bytes), userAddress: 0, fileOffset: offset)
      mapping = try MemoryMapping(file: file, region: part, policy: policy)
    } catch {
      throw VirtioError(
        .badInflightRecord, "the in-flight record cannot be mapped: \(error.message)", underlying: error.underlying)
    }
    self.layout = layout
  }

  /// Why nothing that is written reaches the file any more, in words; nil while it does.
  var loss: String? {
    mapping.isLost
      ? "the in-flight record of \(layout.queues) rings is gone: the front-end has shrunk its file, so that requests would be "
        + "lost with this process" : nil
  }

  /// The region of one ring.
  func bytes(of queue: Int) -> InflightBytes {
    precondition(queue >= 0 && queue < layout.queues)
    // The mapping covers all of the layout; whoever has the bytes holds the record.
    return unsafe InflightBytes(mapping.start + queue * layout.queueBytes, count: layout.queueBytes)
  }
}
