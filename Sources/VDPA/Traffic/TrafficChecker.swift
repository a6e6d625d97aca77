/// Says of the packets that come back on one queue pair what is wrong with them: content, order, gaps, repetitions.
///
/// It remembers the last ``window`` numbers, so its memory does not grow, whatever comes; a packet that is further behind counts
/// as a repetition.
public struct TrafficChecker: Sendable {
  /// How many numbers behind the newest one are told apart.
  public static let window: UInt64 = 65536

  /// The queue pair whose packets these are.
  public let pair: UInt16
  /// How many were sent: numbers from there on are nobody's.
  public private(set) var sent: UInt64 = 0
  private var report = TrafficReport()
  /// The number behind the newest that has come.
  private var next: UInt64 = 0
  /// Whether each of the last ``window`` numbers is accounted for; a bit each, at the number modulo the window.
  private var seen = [UInt64](repeating: 0, count: Int(window / 64))
  /// How many numbers are accounted for.
  private var accounted: UInt64 = 0
  /// The numbers that were in flight at the last reconnect and have not come since.
  private var inFlight: Set<UInt64> = []

  /// A checker of packets sent on a pair.
  public init(pair: UInt16) { self.pair = pair }

  // MARK: What happens

  /// The next packet, which is being sent now.
  ///
  /// - Parameters:
  ///   - time: Nanoseconds of CLOCK_MONOTONIC.
  ///   - length: Bytes of the frame.
  public mutating func send(at time: UInt64, length: Int) -> NumberedPacket {
    defer { sent += 1 }
    return NumberedPacket(pair: pair, number: sent, time: time, length: length)
  }

  /// Takes in a frame that has come.
  ///
  /// - Parameters:
  ///   - frame: Its bytes.
  ///   - now: Nanoseconds of CLOCK_MONOTONIC.
  public mutating func receive(_ frame: [UInt8], at now: UInt64) {
    let decoded = NumberedPacket.decode(frame)
    guard case .intact(let packet) = decoded else {
      report.corrupted += 1
      // It has come, if not as it was sent.
      if case .damaged(let packet) = decoded, packet.pair == pair, packet.number < sent { account(for: packet.number) }
      return
    }
    guard packet.pair == pair else {
      report.misdirected += 1
      return
    }
    guard packet.number < sent else {
      report.corrupted += 1
      return
    }
    if account(for: packet.number) {
      report.received += 1
      report.latency.record(now >= packet.time ? now - packet.time : 0)
    }
  }

  /// Takes in that the back-end has gone.
  ///
  /// - Parameter oldest: The number of the oldest packet that it has not returned as sent; ``sent`` when it has returned all.
  ///   Those from there on may be sent once more, and those that have not come may never come.
  public mutating func reconnect(oldestWithDevice oldest: UInt64) {
    let first = min(oldest, next)
    settle(before: first)
    // What was in flight and still is was counted then.
    report.inFlightAtReconnect += UInt64((first..<sent).count { !inFlight.contains($0) })
    inFlight = Set(first..<sent)
    report.reconnects += 1
  }

  /// Takes in how many buffers are with the back-end to be sent.
  public mutating func observe(inFlight count: Int) { report.peakInFlight = max(report.peakInFlight, count) }

  /// Whether all that was sent has come.
  public var isComplete: Bool { accounted == sent }

  /// What became of the packets so far; those on their way count as lost.
  public var result: TrafficReport {
    var result = report
    result.sent = sent
    for number in unsettled where !isSeen(number) {
      if inFlight.contains(number) { result.lostAtReconnect += 1 } else { result.lost += 1 }
    }
    return result
  }

  // MARK: Numbers

  /// The numbers of which is not yet counted what became of them.
  private var unsettled: Range<UInt64> { (next > TrafficChecker.window ? next - TrafficChecker.window : 0)..<sent }

  private func isSeen(_ number: UInt64) -> Bool {
    guard number < next else { return false }
    let slot = number % TrafficChecker.window
    return seen[Int(slot / 64)] & 1 << (slot % 64) != 0
  }

  private mutating func setSeen(_ number: UInt64, _ isSeen: Bool) {
    let slot = number % TrafficChecker.window
    let bit: UInt64 = 1 << (slot % 64)
    if isSeen { seen[Int(slot / 64)] |= bit } else { seen[Int(slot / 64)] &= ~bit }
  }

  /// Takes in that a number has come.
  ///
  /// - Returns: Whether it is the first time.
  @discardableResult
  private mutating func account(for number: UInt64) -> Bool {
    let wasInFlight = inFlight.remove(number) != nil
    guard number < next else {
      advance(to: number + 1)
      accounted += 1
      setSeen(number, true)
      return true
    }
    guard next - number <= TrafficChecker.window, !isSeen(number) else {
      if wasInFlight { report.repeatedAtReconnect += 1 } else { report.duplicated += 1 }
      return false
    }
    accounted += 1
    setSeen(number, true)
    report.reordered += 1
    return true
  }

  /// Makes room for newer numbers. What leaves the window and has not come is lost.
  private mutating func advance(to end: UInt64) {
    while next < end {
      if next >= TrafficChecker.window { leave(next - TrafficChecker.window) }
      setSeen(next, false)
      next += 1
    }
  }

  private mutating func leave(_ number: UInt64) {
    let slot = number % TrafficChecker.window
    guard seen[Int(slot / 64)] & 1 << (slot % 64) == 0 else { return }
    if inFlight.remove(number) != nil { report.lostAtReconnect += 1 } else { report.lost += 1 }
  }

  /// Counts what was in flight when the back-end before went, and can come no more.
  private mutating func settle(before first: UInt64) {
    for number in inFlight where number < first && !isSeen(number) {
      report.lostAtReconnect += 1
      accounted += 1
      setSeen(number, true)
    }
  }
}
