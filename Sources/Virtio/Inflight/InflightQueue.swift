/// The part of an in-flight record that is about one ring (vhost-user, Inflight I/O tracking).
public struct InflightQueue: Sendable {
  let record: InflightRecord
  let index: Int
  /// Called before each store into the record; for tests, to whom that is when a back-end may die.
  package var onStore: (@Sendable () -> Void)?

  /// The part of a ring.
  ///
  /// - Parameters:
  ///   - record: The record; kept mapped for as long as this value lives.
  ///   - index: The ring's index.
  ///   - ring: How the ring is laid out. It may be smaller than what the record has room for, because a driver may make
  ///     its ring smaller than the device offers.
  /// - Throws: ``VirtioError`` `badInflightRecord`, when the record has no room for such a ring.
  public init(_ record: InflightRecord, index: Int, ring: RingLayout) throws(VirtioError) {
    let layout = record.layout
    guard layout.format == ring.format, index >= 0, index < layout.queues, ring.size <= layout.queueSize else {
      throw VirtioError(
        .badInflightRecord,
        "the in-flight record is for \(layout.queues) \(layout.format) rings of \(layout.queueSize) descriptors at most, "
          + "and has no room for ring \(index), which is a \(ring.format) one of \(ring.size)")
    }
    self.record = record
    self.index = index
  }

  /// How many descriptors there is room for.
  var capacity: Int { record.layout.queueSize }

  var bytes: InflightBytes {
    var bytes = record.bytes(of: index)
    bytes.onStore = onStore
    return bytes
  }
}
