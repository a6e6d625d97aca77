import Virtio

/// What is measured of the ring code.
struct RingCase: Sendable, Hashable {
  /// Which way packets go.
  enum Direction: String, CaseIterable, Sendable {
    /// From the guest.
    case dequeue
    /// To the guest.
    case enqueue
  }

  var format = RingLayout.Format.split
  var direction = Direction.dequeue
  /// The payload of every packet in bytes.
  var bytes = 64
  /// Descriptors a ring.
  var size = 256
  /// Regions of guest memory; with more than one, every packet is in another one than the packet before.
  var regions = 1
  /// Whether a packet may fill several buffers; none has to.
  var isMergeable = true
  /// Whether the Swift code's packets are in buffers of a pool, which they go back to after each burst, and not in an arena
  /// of the burst's own. The C code has an arena.
  var isPooled = false
  /// Whether one used entry may stand for several buffers (`VIRTIO_F_IN_ORDER`); for whole datapaths.
  var isInOrder = false

  /// The header with `num_buffers`, which all drivers of today use.
  static let headerLength = 12

  /// The cases of every combination that makes a difference.
  static func all(
    formats: [RingLayout.Format], directions: [Direction], bytes: [Int], size: Int, regions: [Int], mergeable: [Bool]
  ) -> [RingCase] {
    formats.flatMap { format in
      directions.flatMap { direction in
        bytes.flatMap { bytes in
          regions.flatMap { regions in
            // What comes from the guest comes the same way in either case.
            (direction == .enqueue ? mergeable : Array(mergeable.prefix(1))).map { isMergeable in
              RingCase(
                format: format, direction: direction, bytes: bytes, size: size, regions: regions,
                isMergeable: isMergeable)
            }
          }
        }
      }
    }
  }

  /// `split enqueue 64 B, 509 regions, not mergeable`
  var name: String {
    "\(format) \(direction) \(bytes) B" + (size == 256 ? "" : ", ring of \(size)")
      + (regions == 1 ? "" : ", \(regions) regions") + (direction == .dequeue || isMergeable ? "" : ", not mergeable")
      + (isPooled ? ", pool" : "")
  }
}
