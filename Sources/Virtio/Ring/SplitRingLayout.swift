/// Where the parts of a split ring are and how long they are (virtio 1.2, §2.7).
public struct SplitRingLayout: Sendable, Hashable {
  /// The number of descriptors.
  public let size: Int

  /// The layout of a ring of that size.
  ///
  /// - Throws: ``VirtioError`` `badRingSize`, unless the size is a power of two from 1 to 32768.
  public init(size: Int) throws(VirtioError) {
    guard size >= 1, size <= 32768, size & (size - 1) == 0 else {
      throw VirtioError(.badRingSize, "ring size \(size) is not a power of two from 1 to 32768")
    }
    self.size = size
  }

  /// The length of the descriptor table in bytes.
  public var descriptorBytes: Int { 16 * size }
  /// The length of the driver area (available ring) in bytes, `used_event` included.
  public var availBytes: Int { 6 + 2 * size }
  /// The length of the device area (used ring) in bytes, `avail_event` included.
  public var usedBytes: Int { 6 + 8 * size }

  /// The alignment of the descriptor table in bytes.
  public static let descriptorAlignment: UInt64 = 16
  /// The alignment of the driver area in bytes.
  public static let availAlignment: UInt64 = 2
  /// The alignment of the device area in bytes.
  public static let usedAlignment: UInt64 = 4
}
