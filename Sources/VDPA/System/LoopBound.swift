/// State that only one event loop's thread touches.
///
/// Sessions and their connections are `Sendable` because others hold them and hand them work, but what they know is
/// read and written by handlers and jobs of their loop alone. This is the one way in which that is written down: every
/// access checks that it comes from the loop's thread, so a mistake is a crash at its place and never a race.
///
/// A call-out must not happen during an access (Swift's exclusivity rule): take what it needs out first.
@safe
package final class LoopBound<Value>: @unchecked Sendable {
  /// The loop whose thread may touch the value.
  package let loop: EventLoop
  // Only reached through `value`, which lets no other thread in.
  private var storage: Value

  /// Hands `value` to the loop's thread. May be called from any thread.
  package init(_ value: sending Value, on loop: EventLoop) {
    self.loop = loop
    storage = value
  }

  /// The value. Only on the loop's thread.
  package var value: Value {
    get {
      precondition(loop.isCurrent, "state of an event loop was used outside of its thread")
      return storage
    }
    _modify {
      precondition(loop.isCurrent, "state of an event loop was used outside of its thread")
      yield &storage
    }
  }
}
