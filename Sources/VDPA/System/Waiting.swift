internal import Synchronization

/// Waits for what will be told on another thread.
///
/// - Parameter body: Is given what to call, once, with the value; it may be called before `body` returns.
package func waitForValue<Value: Sendable>(_ body: (@escaping @Sendable (Value) -> Void) -> Void) -> Value {
  let answer = Answer<Value>()
  body { value in
    answer.value.withLock { $0 = value }
    answer.signal.signal()
  }
  while true {
    let seen = answer.signal.value
    if let value = answer.value.withLock({ $0 }) { return value }
    answer.signal.wait(whileEqualTo: seen, nanoseconds: -1)
  }
}

private final class Answer<Value: Sendable>: Sendable {
  let value = Mutex<Value?>(nil)
  let signal = FutexWord()
}
