/// Which bytes of a chain's room a device may have written: some from the first on, and some up to the last. All that it
/// has been near are among them, whatever it says to have written; a dirty log is told of no more, for a guest can give
/// room for far more than it has memory.
struct ChainWrites: Sendable {
  private let room: Int
  /// The bytes from the first on.
  private(set) var head: Range<Int>
  /// The bytes up to the last.
  private(set) var tail: Range<Int>

  init(room: Int) {
    self.room = room
    head = 0..<0
    tail = room..<room
  }

  /// The device is given bytes, which are inside of the room.
  mutating func add(_ bytes: Range<Int>) {
    guard !bytes.isEmpty else { return }
    if bytes.lowerBound <= head.upperBound {
      head = 0..<max(head.upperBound, bytes.upperBound)
    } else {
      tail = min(tail.lowerBound, bytes.lowerBound)..<room
    }
  }
}
