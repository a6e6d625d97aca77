internal import CLinux

/// How to see with a few loads that a client still has nothing to do, where only what its guest announces on one ring can give
/// it something.
///
/// Its worker looks, in a burst of the ring's owner. Whatever changes the ring closes the owner before, so the change is seen
/// and what it may have taken away is not touched.
struct QuietLook {
  /// What a driver writes when it announces something, and what was in it when nothing was announced.
  @safe struct Word {
    // In memory that the owner's state holds. Nil for a ring on which nothing can come before it is changed.
    private let place: UnsafeRawPointer?
    private let seen: UInt16

    /// The 16 bits at a place that is aligned and stays valid as long as the owner's state is not changed.
    @unsafe init(at place: UnsafeRawPointer) {
      unsafe self.place = place
      seen = unsafe clinux_load_u16(place)
    }

    private init() {
      unsafe place = nil
      seen = 0
    }

    /// Of a ring on which nothing can be announced.
    static var never: Word { Word() }

    @inline(__always) var hasChanged: Bool {
      guard let place = unsafe place else { return false }
      return unsafe clinux_load_u16(place) != seen
    }
  }

  /// Of an owner that lives as long as the client.
  private let words: OwnershipWords
  private let closings: UInt32
  private let word: Word

  /// A look at a word; made in a burst of the owner.
  init(_ words: OwnershipWords, at word: Word) {
    self.words = words
    self.word = word
    closings = words.closings
  }

  /// Whether the client has to have a turn.
  @inline(__always) func mayHaveWork() -> Bool {
    guard words.enter() else { return true }
    defer { words.leave() }
    return words.closings != closings || word.hasChanged
  }
}
