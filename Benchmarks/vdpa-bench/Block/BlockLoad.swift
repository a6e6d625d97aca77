/// What is asked of a block device.
struct BlockLoad: Sendable, Hashable {
  /// Reads or writes.
  enum Direction: String, CaseIterable, Sendable, CustomStringConvertible {
    case read
    case write

    var description: String { rawValue }
  }

  /// Where one request begins after another.
  enum Order: String, CaseIterable, Sendable, CustomStringConvertible {
    /// Each where the one before ends, and at the end of the disk from its beginning, as `qemu-img bench` does.
    case sequential
    /// Anywhere, at a multiple of the requests' length.
    case random

    var description: String { rawValue }
  }

  let direction: Direction
  let order: Order
  /// The length of a request in bytes: whole sectors.
  let length: Int
  /// How many requests are under way at a time.
  let depth: Int
}
