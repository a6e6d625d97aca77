/// Frames that went out beside those that came back, byte for byte and in order.
package struct FrameComparison: Hashable, Sendable, CustomStringConvertible {
  package let sent: Int
  package let returned: Int
  /// The place of the first frame that differs or is on one side only; nil when there is none.
  package let firstDifference: Int?
  private let detail: String

  package init(sent: [[UInt8]], returned: [[UInt8]]) {
    self.sent = sent.count
    self.returned = returned.count
    let common = min(sent.count, returned.count)
    let difference =
      (0..<common).first { sent[$0] != returned[$0] } ?? (sent.count == returned.count ? nil : common)
    firstDifference = difference
    detail = difference.map { FrameComparison.explain(sent, returned, at: $0) } ?? ""
  }

  /// Whether all came back, unchanged and in order.
  package var isEqual: Bool { firstDifference == nil }

  private static func explain(_ sent: [[UInt8]], _ returned: [[UInt8]], at place: Int) -> String {
    guard place < returned.count else { return "frame \(place) and what follows is missing" }
    guard place < sent.count else { return "frame \(place) and what follows was never sent" }
    let (a, b) = (sent[place], returned[place])
    if let other = NumberedFrames.number(of: b), other != NumberedFrames.number(of: a) {
      return "frame \(other) stands in the place of frame \(place)"
    }
    if a.count != b.count { return "frame \(place) has \(b.count) bytes in place of \(a.count)" }
    let byte = zip(a, b).enumerated().first { $1.0 != $1.1 }?.offset ?? 0
    return "frame \(place) of \(a.count) bytes differs from byte \(byte) on"
  }

  package var description: String {
    "\(sent) sent, \(returned) returned" + (isEqual ? ", equal" : ": \(detail)")
  }
}
