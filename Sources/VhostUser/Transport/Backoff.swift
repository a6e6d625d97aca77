/// How long to wait before the next try: not at all the first time, then twice as long each time, up to a bound.
///
/// The waits are spread at random, so that many who lost the same peer do not come back at once.
package struct Backoff: Sendable {
  /// The first wait that is one, in milliseconds.
  package static let first = 10
  /// The longest wait, in milliseconds.
  package static let longest = 4000

  private var limit = 0

  package init() {}

  /// Milliseconds to wait now: from half of what it may be to all of it.
  package mutating func next() -> Int {
    defer { limit = limit == 0 ? Backoff.first : min(2 * limit, Backoff.longest) }
    return Int.random(in: limit / 2...limit)
  }

  /// Begins anew, after a success.
  package mutating func reset() { limit = 0 }
}
