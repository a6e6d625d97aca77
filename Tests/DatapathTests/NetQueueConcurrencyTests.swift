import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Bursts of the application's threads while everything that a front-end and an operator can do is done to the rings.
struct NetQueueConcurrencyTests {
  /// What the control side does.
  enum Change: CaseIterable {
    case memory, kicks, oneRing, otherRing, connection
  }

  /// How the application waits for packets.
  enum Waiting: CaseIterable {
    case polling, sleeping
  }

  private static let splits: Features = [.version1, .netMergeableBuffers]
  private static let packed: Features = [.version1, .netMergeableBuffers, .packedRing, .eventIndex]

  /// The guest's thread: sends numbered packets and takes them back until it is told to end and all have come back.
  private final class GuestThread: Sendable {
    let isEnding = Atomic<Bool>(false)
    let received = Atomic<Int>(0)
    let fault = Mutex<String?>(nil)

    func run(_ guest: NumberedGuest) {
      let deadline = ContinuousClock.now + .seconds(60)
      while true {
        guest.collect()
        received.store(guest.received, ordering: .relaxed)
        if guest.fault != nil || ContinuousClock.now > deadline { break }
        let isLast = isEnding.load(ordering: .acquiring)
        if isLast && guest.received == guest.sent { break }
        guest.offer(NumberedGuest.size - guest.offered)
        // No more than the device can give back, so that none is lost with a connection that ends.
        if !isLast { guest.send(min(NumberedGuest.size / 2 - guest.sending, 16)) }
        sched_yield()
      }
      let missing = guest.sent - guest.received
      fault.withLock {
        $0 = guest.fault ?? (missing == 0 ? nil : "\(missing) of \(guest.sent) packets have not come back")
      }
    }
  }

  private func change(_ change: Change, _ served: ServedGuest, _ states: inout [VringState]) throws {
    switch change {
    case .memory: try served.changeMemory()
    case .kicks:
      for state in states {
        try served.guest.exchangeKick(state.index)
        try served.setVring(state)
      }
    case .oneRing, .otherRing:
      let index = change == .oneRing ? 0 : 1
      states[index] = try served.stopVring(index)
      try served.setVring(states[index])
    case .connection:
      states = try served.close()
      try served.changeMemory()
      try served.configure(at: states)
    }
  }

  @Test(
    "No packet is lost, doubled or reordered, whatever is done to the rings between two bursts",
    arguments: [splits, packed], Waiting.allCases)
  func nothingIsLost(features: Features, waiting: Waiting) throws {
    let served = try ServedGuest(features: features)
    let (fromGuest, toGuest) = (served.fromGuest, served.toGuest)
    var states = [0, 1].map { served.guest.start($0) }
    try served.configure(at: states)
    let isOver = Atomic<Bool>(false)
    let guestThread = GuestThread()
    // The guest is this object's and its thread's alone; the device's side of the helper does not touch its driver.
    nonisolated(unsafe) let guest = served.guest
    let driver = try PinnedThread(name: "guest") { unsafe guestThread.run(guest) }
    let application = try PinnedThread(name: "application") {
      guard let pool = try? PacketPool(count: 256, payloadLength: 256) else { return }
      let burst = PacketBurst(pool)
      while !isOver.load(ordering: .relaxed) {
        fromGuest.dequeueBurst(into: burst)
        toGuest.enqueueBurst(from: burst)
        if burst.count == 0 && waiting == .sleeping { fromGuest.wait() }
      }
    }
    var random = SystemRandomNumberGenerator()
    for _ in 0..<400 {
      // Something flows between two changes, or they would only meet each other.
      let before = guestThread.received.load(ordering: .relaxed)
      let deadline = ContinuousClock.now + .seconds(20)
      while guestThread.received.load(ordering: .relaxed) == before && ContinuousClock.now < deadline { usleep(50) }
      try change(Change.allCases.randomElement(using: &random) ?? .memory, served, &states)
    }
    guestThread.isEnding.store(true, ordering: .releasing)
    driver.join()
    isOver.store(true, ordering: .relaxed)
    served.port.servers[0].changed(isTransmit: true)
    application.join()
    #expect(guestThread.fault.withLock { $0 } == nil)
    #expect(served.guest.received > 400)
    #expect(fromGuest.overlaps == 0 && toGuest.overlaps == 0)
    #expect(fromGuest.statistics.packets == UInt64(served.guest.sent))
    #expect(toGuest.statistics.packets == UInt64(served.guest.received) && toGuest.statistics.dropped == 0)
    _ = try served.close()
  }

  @Test("Two threads that serve one queue by mistake get each packet once, and harm nothing")
  func mistake() throws {
    let served = try ServedGuest()
    try served.configure()
    let (fromGuest, port) = (served.fromGuest, served.port)
    let isOver = Atomic<Bool>(false)
    let numbers = Mutex<[UInt8]>([])
    let threads = try (0..<3).map { i in
      try PinnedThread(name: "mistaken-\(i)") {
        let burst = PacketBurst()
        while !isOver.load(ordering: .relaxed) {
          guard fromGuest.dequeueBurst(into: burst, limit: 4) > 0 else { continue }
          let taken = (0..<burst.count).map { burst.withPayload(of: $0) { $0[0] } }
          numbers.withLock { $0 += taken }
          burst.clear()
        }
      }
    }
    var random = SystemRandomNumberGenerator()
    var states = [0, 1].map { served.guest.start($0) }
    while served.guest.sent < 5000 {
      served.guest.collect()
      served.guest.send(NumberedGuest.size - served.guest.sending)
      if served.guest.sent % 7 == 0 {
        try change([.memory, .otherRing, .connection].randomElement(using: &random) ?? .memory, served, &states)
      }
    }
    while served.guest.returned < served.guest.sent {
      served.guest.collect()
      sched_yield()
    }
    isOver.store(true, ordering: .relaxed)
    for thread in threads { thread.join() }
    var counts = [Int](repeating: 0, count: 256)
    for number in numbers.withLock({ $0 }) { counts[Int(number)] += 1 }
    #expect(counts.reduce(0, +) == served.guest.sent)
    for number in 0..<256 { #expect(counts[number] == (served.guest.sent - number + 255) / 256) }
    #expect(served.guest.fault == nil && port.pairs[0].transmit.statistics.packets == UInt64(served.guest.sent))
  }

  @Test("While queues are enabled and disabled, what is sent is taken or dropped, once, and counted so")
  func enabling() throws {
    let served = try ServedGuest()
    try served.configure()
    let fromGuest = served.fromGuest
    let isOver = Atomic<Bool>(false)
    let taken = Atomic<Int>(0)
    let application = try PinnedThread(name: "application") {
      let burst = PacketBurst()
      while !isOver.load(ordering: .relaxed) {
        taken.add(fromGuest.dequeueBurst(into: burst), ordering: .relaxed)
        burst.clear()
      }
    }
    var round = 0
    while round < 500 || taken.load(ordering: .relaxed) == 0 || fromGuest.statistics.dropped == 0 {
      try served.setVring(served.guest.start(1), enabled: round % 2 == 1)
      served.guest.collect()
      served.guest.send(NumberedGuest.size - served.guest.sending)
      round += 1
    }
    while served.guest.returned < served.guest.sent {
      served.guest.collect()
      sched_yield()
    }
    isOver.store(true, ordering: .relaxed)
    application.join()
    let statistics = fromGuest.statistics
    #expect(statistics.packets == UInt64(taken.load(ordering: .relaxed)))
    #expect(statistics.packets + statistics.dropped == UInt64(served.guest.sent))
  }
}
