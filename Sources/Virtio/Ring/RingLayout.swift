/// Where the parts of a ring are and how long they are (virtio 1.2, §2.7 and §2.8).
///
/// The three parts have the names of both formats' common part: the descriptor area, the driver area (split: available
/// ring; packed: driver event suppression) and the device area (split: used ring; packed: device event suppression).
public struct RingLayout: Sendable, Hashable {
  /// How a ring is laid out.
  public enum Format: Sendable, Hashable, CaseIterable {
    /// Descriptor table, available ring and used ring (virtio 1.2, §2.7).
    case split
    /// One ring of descriptors that both sides write (virtio 1.2, §2.8).
    case packed

    /// The alignment of the driver area in bytes.
    public var availAlignment: UInt64 { self == .split ? 2 : 4 }
    /// The alignment of the device area in bytes.
    public var usedAlignment: UInt64 { 4 }

    /// The position at which a ring starts: split, index 0; packed, the first descriptor with wrap counter 1 (virtio 1.2,
    /// §2.8.1).
    public var start: UInt16 { self == .split ? 0 : RingLayout.packedStart }

    /// The format that follows from the negotiated features (`VIRTIO_F_RING_PACKED`).
    public init(for features: Features) { self = features.contains(.packedRing) ? .packed : .split }
  }

  /// The largest ring of either format, in descriptors.
  public static let maxSize = 32768

  /// How the ring is laid out.
  public let format: Format
  /// The number of descriptors.
  public let size: Int

  /// The layout of a ring of that size.
  ///
  /// - Throws: ``VirtioError`` `badRingSize`, unless the size is from 1 to 32768 and, for a split ring, a power of two.
  public init(_ format: Format, size: Int) throws(VirtioError) {
    guard size >= 1, size <= RingLayout.maxSize else {
      throw VirtioError(.badRingSize, "ring size \(size) is not from 1 to \(RingLayout.maxSize)")
    }
    guard format == .packed || size & (size - 1) == 0 else {
      throw VirtioError(
        .badRingSize, "split ring size \(size) is not a power of two from 1 to \(RingLayout.maxSize)")
    }
    self.format = format
    self.size = size
  }

  /// The length of the descriptor area in bytes.
  public var descriptorBytes: Int { 16 * size }
  /// The length of the driver area in bytes; in a split ring with `used_event`.
  public var availBytes: Int { format == .split ? 6 + 2 * size : 4 }
  /// The length of the device area in bytes; in a split ring with `avail_event`.
  public var usedBytes: Int { format == .split ? 6 + 8 * size : 4 }

  /// The alignment of the descriptor area in bytes.
  public static let descriptorAlignment: UInt64 = 16
  /// The position at which a packed ring starts: its first descriptor, wrap counter 1 (virtio 1.2, §2.8.1).
  public static let packedStart: UInt16 = 0x8000
}
