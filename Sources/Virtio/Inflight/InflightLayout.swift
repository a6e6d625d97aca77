/// How a record of the requests in flight is laid out: a region for each ring, one behind the other (vhost-user, Inflight
/// I/O tracking).
///
/// The regions are as long as those of libvhost-user and DPDK, so that one back-end can read what another has left.
public struct InflightLayout: Sendable, Hashable {
  /// The format of the rings.
  public let format: RingLayout.Format
  /// How many rings there are.
  public let queues: Int
  /// The most descriptors that a ring may have.
  public let queueSize: Int

  /// Each region starts at a multiple of so many bytes.
  public static let alignment = 64

  /// The layout for so many rings.
  ///
  /// - Throws: ``VirtioError`` `badInflightRecord` for no ring at all, `badRingSize` for a size that no ring has.
  public init(_ format: RingLayout.Format, queues: Int, queueSize: Int) throws(VirtioError) {
    guard queues >= 1 else {
      throw VirtioError(.badInflightRecord, "an in-flight record has to have room for one ring at least")
    }
    _ = try RingLayout(format, size: queueSize)
    self.format = format
    self.queues = queues
    self.queueSize = queueSize
  }

  /// The length of one ring's region in bytes.
  public var queueBytes: Int {
    let bytes =
      switch format {
      case .split: SplitInflight.bytes(descriptors: queueSize)
      case .packed: PackedInflight.bytes(descriptors: queueSize)
      }
    return (bytes + InflightLayout.alignment - 1) / InflightLayout.alignment * InflightLayout.alignment
  }

  /// The length of the record in bytes.
  public var bytes: Int { queues * queueBytes }
}
