import Testing

@testable import Virtio

/// A device dies before any one of its stores into the record, and another takes over: nothing is lost, nothing that the
/// guest has been told of is done again, and what is done again is in order (vhost-user, Inflight I/O tracking).
@Suite struct InflightCrashTests {
  /// What a device has left behind.
  private struct Remains {
    let memory: GuestBytes
    let guest: InflightBench.Guest
  }

  /// Collects the remains at each store.
  private final class Recorder: @unchecked Sendable {
    var bench: InflightBench?
    var remains: [Remains] = []

    func take() {
      guard let bench else { return }
      remains.append(Remains(memory: bench.memory.copy(), guest: bench.guest))
    }
  }

  /// Whether a device is still taking over.
  private final class Recovery: @unchecked Sendable {
    var isUnderWay = true
  }

  /// Small rings, with what is posted to them by turns.
  private static let cases: [(ring: RingCase, forms: [[Int]])] = [
    (RingCase(format: .split, size: 1), [[1], [0]]),
    (RingCase(format: .split, size: 2), [[1], [2], [0, 1], [1, 2]]),
    (RingCase(format: .split, size: 4), [[1], [2, 1, 0], [3, 1]]),
    (RingCase(format: .packed, size: 1), [[1], [0]]),
    (RingCase(format: .packed, size: 2), [[1], [2], [0, 1], [1, 2]]),
    (RingCase(format: .packed, size: 3), [[1], [3], [2, 1], [1, 0, 2]]),
    (RingCase(format: .packed, size: 4), [[1], [4, 2], [2, 1, 0], [3, 1]]),
  ]

  /// Which of the chains that the device has comes back next.
  private enum Order: CaseIterable {
    case first
    case last
    case middle

    func pick(_ count: Int) -> Int {
      switch self {
      case .first: 0
      case .last: count - 1
      case .middle: count / 2
      }
    }
  }

  @Test(arguments: cases.map(\.ring)) func everyStore(_ ring: RingCase) throws {
    let forms = try #require(Self.cases.first { $0.ring.format == ring.format && $0.ring.size == ring.size }).forms
    var count = 0
    for start in ring.fewStarts {
      let base = try InflightBench(ring, start: start)
      let pristine = Remains(memory: base.memory.copy(), guest: base.guest)
      for form in forms {
        for order in Order.allCases {
          for atOnce in [1, 2] {
            let label = "start \(start) forms \(form) \(order) \(atOnce) at once"
            for remains in try Self.run(
              Self.bench(pristine, base), form, order, atOnce: atOnce
            ).enumerated() {
              count += 1
              try Self.verify(remains.element, base, form, twice: order == .last, "\(label), store \(remains.offset)")
            }
          }
        }
      }
    }
    #expect(count > 500)
  }

  /// A device that serves some chains, and what it would leave behind at each store.
  private static func run(
    _ base: InflightBench, _ forms: [Int], _ order: Order, atOnce: Int
  ) throws -> [Remains] {
    let total = base.ring.size + 3
    let recorder = Recorder()
    var bench = base
    bench.post(upTo: total, forms)
    recorder.bench = bench
    var device = try bench.device { recorder.take() }
    var held: [DeviceRing.Chain] = []
    var done = 0
    while done < total {
      held = bench.fetchAll(&device, with: held)
      try require(device.fault == .none && !held.isEmpty, "nothing to do")
      for _ in 0..<min(atOnce, held.count) { device.returnChain(held.remove(at: order.pick(held.count)), written: 0) }
      device.publishChains()
      recorder.take()
      done += try bench.collect().count
      bench.post(upTo: total, forms)
      recorder.bench = bench
    }
    return recorder.remains
  }

  /// Another device takes over; so does one more, wherever that one dies in turn.
  ///
  /// - Parameter twice: Whether that one dies at all.
  private static func verify(
    _ remains: Remains, _ base: InflightBench, _ forms: [Int], twice: Bool, _ label: @autoclosure () -> String
  ) throws {
    for isGuestBusy in [false, true] {
      let recorder = Recorder()
      var bench = bench(remains, base)
      recorder.bench = bench
      try finish(&bench, forms, isGuestBusy: isGuestBusy, label()) { recorder.take() }
      // The guest does nothing in between: that it does was tried above.
      for again in recorder.remains where twice && !isGuestBusy {
        var bench = Self.bench(again, base)
        try finish(&bench, forms, isGuestBusy: false, "\(label()), and once more")
      }
    }
  }

  /// All use one memory, because that is where their drivers look.
  private static func bench(_ remains: Remains, _ base: InflightBench) -> InflightBench {
    var bench = base
    bench.memory.restore(remains.memory)
    bench.guest = remains.guest
    return bench
  }

  /// Serves a ring that was left behind to the end.
  ///
  /// - Parameter onRecovery: Called before each store that taking it over makes.
  private static func finish(
    _ bench: inout InflightBench, _ forms: [Int], isGuestBusy: Bool, _ label: @autoclosure () -> String,
    onRecovery: (@Sendable () -> Void)? = nil
  ) throws {
    let posted = bench.guest.posted
    // What the guest was told of is its own again.
    var known = bench.guest
    var seen = bench
    _ = try seen.collect()
    let left = seen.guest.open.values.sorted()
    if isGuestBusy {
      bench = seen
      bench.post(upTo: posted + 2, forms)
      known = bench.guest
    }
    bench.guest = known

    let recovery = Recovery()
    var device = try bench.device { if recovery.isUnderWay { onRecovery?() } }
    recovery.isUnderWay = false
    let again = device.resubmissions
    let held = bench.fetchAll(&device)
    let fresh = isGuestBusy ? Array(posted..<bench.guest.posted) : []
    try require(device.fault == .none, "\(device.fault): \(label())")
    try require(bench.numbers(held) == left + fresh, "\(bench.numbers(held)) for \(left) and \(fresh): \(label())")
    try require(again <= left.count, label())
    _ = try bench.collect()
    for chain in held.reversed() {
      device.returnChain(chain, written: 0)
      device.publishChains()
      let back = try bench.collect()
      try require(back == bench.numbers([chain]), "\(back) for \(bench.numbers([chain])): \(label())")
    }
    try require(bench.guest.open.isEmpty, label())

    // It goes on as if nothing had been, all around the ring.
    for _ in 0..<2 {
      let before = bench.guest.posted
      bench.post(upTo: before + bench.ring.size, forms)
      let more = bench.fetchAll(&device)
      try require(bench.numbers(more) == Array(before..<bench.guest.posted), label())
      for chain in more { device.returnChain(chain, written: 0) }
      device.publishChains()
      try require(try bench.collect() == Array(before..<bench.guest.posted), label())
    }
    // And the record has nothing left.
    let last = try bench.device()
    try require(last.resubmissions == 0, label())
    try require(last.nextAvail == device.nextAvail && last.nextUsed == device.nextUsed, label())
  }
}
