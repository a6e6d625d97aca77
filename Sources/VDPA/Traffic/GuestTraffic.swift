/// Something that goes over the vrings of a guest, and is checked as it comes back. For one thread.
public protocol GuestTraffic: AnyObject {
  /// Whose rings they are.
  var guest: DriverGuest { get }
  /// Wants so much more on each queue with the steps to come.
  func want(_ count: UInt64)
  /// One turn over all queues: takes in what has come and sends what may be sent.
  ///
  /// - Returns: Whether anything has happened.
  /// - Throws: ``VringFault``, when the device has written into a ring what no device may write.
  @discardableResult func step() throws(VringFault) -> Bool
  /// Whether all that is wanted has been sent and has come back.
  var isComplete: Bool { get }
  /// What is wrong with what has come so far, in words; nil when nothing is. What has not come is not wrong yet.
  var problem: String? { get }
  /// How much was wanted and has come on each queue, in words.
  var progress: String { get }
}

extension GuestTraffic {
  /// Sends more on each queue and waits until all that was sent has come back.
  ///
  /// - Parameters:
  ///   - count: How much more on each queue.
  ///   - patience: How long to wait for something to happen before what has not come counts as lost.
  ///   - wait: Waits for that many milliseconds at most; nil for ``DriverGuest/wait(milliseconds:)``.
  /// - Returns: Whether all has come back.
  /// - Throws: ``VringFault``, when the device has written into a ring what no device may write, or finds a ring broken; what
  ///   `wait` throws.
  @discardableResult
  public func run(
    _ count: UInt64 = 0, patience: Duration = .seconds(5), waiting wait: ((_ milliseconds: Int) throws -> Void)? = nil
  ) throws -> Bool {
    want(count)
    var deadline = Deadline(after: patience)
    while !isComplete {
      if try step() {
        deadline = Deadline(after: patience)
        continue
      }
      guest.setWantsCalls(true)
      // What came before the device knew that it has to call.
      if try !step() {
        for vring in guest.vrings where vring.isBroken {
          throw VringFault(index: vring.index, reason: "the device finds the ring broken")
        }
        if deadline.hasPassed { return false }
        let time = Int(min(deadline.milliseconds, 1000))
        if let wait { try wait(time) } else { guest.wait(milliseconds: time) }
      }
      guest.setWantsCalls(false)
    }
    return true
  }
}
