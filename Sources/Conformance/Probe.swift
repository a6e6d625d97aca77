/// Single exchanges with a device over one queue, each of which is checked.
protocol Probe: AnyObject {
  /// Asks the device for something and waits for the answer.
  func exchange() throws
  /// Where the device writes answers to.
  var answers: [Range<UInt64>] { get }
}
