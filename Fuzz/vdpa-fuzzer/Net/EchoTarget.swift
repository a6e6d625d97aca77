@testable internal import Datapath

/// The echo port, which takes frames of the guest apart and answers them in place.
final class EchoTarget: FuzzTarget {
  func run(_ input: FuzzInput) {
    // An allocation of exactly the frame's length, so that the address sanitizer sees its end.
    var frame = input.records.flatMap(\.bytes)
    frame.removeLast(min(Int(input.size) % Record.size, frame.count))
    let length = frame.count
    var span = frame.mutableSpan
    _ = EchoPort.answer(&span)
    Oracle.require(span.count == length, "an answer of \(span.count) bytes to a request of \(length)")
  }
}
