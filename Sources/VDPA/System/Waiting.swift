internal import Synchronization

/// Waits for what will be told on another thread.
///
/// - Parameter body: Is given what to call, once, with the value; it may be called before `body` returns.
package func waitForValue<Value: Sendable>(_ body: (@escaping @Sendable (Value) -> Void) -> Void) -> Value {
  let answer = Answer(body)
  while true {
    let seen = answer.signal.value
    if let value = answer.value.withLock({ $0 }) { return value }
    answer.signal.wait(whileEqualTo: seen, nanoseconds: -1)
  }
}

/// The same for a time.
///
/// - Returns: nil when nothing was told by then; what is told later nobody hears.
package func waitForValue<Value: Sendable>(
  within patience: Duration, _ body: (@escaping @Sendable (Value) -> Void) -> Void
) -> Value? {
  let deadline = Deadline(after: patience)
  let answer = Answer(body)
  while true {
    let seen = answer.signal.value
    if let value = answer.value.withLock({ $0 }) { return value }
    if deadline.hasPassed { return nil }
    answer.signal.wait(whileEqualTo: seen, nanoseconds: deadline.nanoseconds)
  }
}

private final class Answer<Value: Sendable>: Sendable {
  let value = Mutex<Value?>(nil)
  let signal = FutexWord()

  init(_ body: (@escaping @Sendable (Value) -> Void) -> Void) {
    body { value in
      self.value.withLock { $0 = value }
      self.signal.signal()
    }
  }
}
