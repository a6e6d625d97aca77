import Glibc
import Synchronization
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import Datapath

/// The queues of an application port, burst by burst, through the life of a device.
struct NetQueueTests {
  private let burst = PacketBurst()

  private func isReadable(_ queue: NetQueue) -> Bool {
    var entry = pollfd(fd: queue.wakeup.rawValue, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&entry, 1, 0) == 1
  }

  @Test(
    "Packets come out of the guest in order, and what it has no buffers for stays in the burst",
    arguments: [false, true])
  func forwarding(isPooled: Bool) throws {
    let served = try ServedGuest()
    let guest = served.guest
    try served.configure()
    let burst = isPooled ? PacketBurst(try PacketPool(count: 64)) : PacketBurst()
    guest.send(40)
    #expect(served.fromGuest.pending == 32)
    #expect(served.fromGuest.dequeueBurst(into: burst, limit: 5) == 5)
    #expect(served.fromGuest.dequeueBurst(into: burst, limit: 0) == 0)
    #expect(served.fromGuest.dequeueBurst(into: burst, limit: -1) == 0)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 27)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 0 && burst.isFull)
    #expect(burst.payloadLength(of: 31) == 64 && burst.withPayload(of: 31) { $0[0] } == 31)
    #expect(served.toGuest.enqueueBurst(from: burst) == 0)
    guest.offer(10)
    #expect(served.toGuest.pending == 10)
    #expect(served.toGuest.enqueueBurst(from: burst) == 10 && burst.count == 22)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 8 && burst.count == 30)
    guest.offer(40)
    #expect(served.toGuest.enqueueBurst(from: burst) == 30 && burst.count == 0)
    guest.collect()
    #expect(guest.received == 40 && guest.returned == 40 && guest.fault == nil)
    #expect(served.fromGuest.statistics.packets == 40 && served.fromGuest.statistics.bytes == 40 * 64)
    #expect(served.toGuest.statistics.packets == 40 && served.toGuest.statistics.dropped == 0)
    #expect(served.device.capabilities.statistics?.vrings.map(\.packets) == [40, 40])
  }

  @Test("A queue stays the same through everything that happens to its ring, and its state says what that is")
  func life() throws {
    let served = try ServedGuest()
    let guest = served.guest
    let queues = [served.toGuest, served.fromGuest]
    func expect(_ state: NetQueue.State, _ line: SourceLocation = #_sourceLocation) {
      for queue in queues { #expect(queue.state == state, sourceLocation: line) }
      #expect(queues.allSatisfy { $0.isRunning == (state == .running) }, sourceLocation: line)
      guard state != .running else { return }
      #expect(served.fromGuest.dequeueBurst(into: burst) == 0 && burst.count == 0, sourceLocation: line)
      #expect(queues[1].pending == 0 || state == .disabled, sourceLocation: line)
      burst.append(length: 64) { _ in }
      #expect(served.toGuest.enqueueBurst(from: burst) == 0 && burst.count == 1, sourceLocation: line)
      burst.clear()
    }
    expect(.idle)
    guest.send(3)
    guest.offer(8)
    try served.configure()
    expect(.running)
    #expect(served.fromGuest.dequeueBurst(into: burst, limit: 2) == 2)
    try served.changeMemory()
    expect(.running)
    #expect(served.toGuest.enqueueBurst(from: burst) == 2)
    let stopped = try [0, 1].map { try served.stopVring($0) }
    #expect(stopped.map(\.nextUsed) == [2, 2])
    expect(.stopped)
    for state in stopped { try served.setVring(state) }
    expect(.running)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 1)
    #expect(served.toGuest.enqueueBurst(from: burst) == 1)
    let states = try served.close()
    #expect(states.map(\.nextUsed) == [3, 3])
    expect(.idle)
    try served.changeMemory()
    try served.configure(at: states)
    expect(.running)
    guest.send(1)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 1 && served.toGuest.enqueueBurst(from: burst) == 1)
    // The last: what is sent on a disabled ring is lost.
    for state in states { try served.setVring(state, enabled: false) }
    expect(.disabled)
    _ = try served.close()
    expect(.idle)
    guest.collect()
    #expect(guest.received == 4 && guest.fault == nil)
  }

  @Test(
    "What is sent on a disabled queue is dropped and counted, and does not disturb the packets that are in the burst")
  func disabled() throws {
    let served = try ServedGuest()
    try served.configure()
    served.guest.send(4)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 4)
    try served.setVring(served.guest.start(1), enabled: false)
    served.guest.send(40)
    for _ in 0..<4 { #expect(served.fromGuest.dequeueBurst(into: burst) == 0 && burst.count == 4) }
    served.guest.collect()
    #expect(served.guest.returned == 44)
    #expect(served.fromGuest.statistics.dropped == 40 && served.fromGuest.statistics.packets == 4)
    try served.setVring(served.guest.start(1))
    served.guest.send(1)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 1)
  }

  @Test("A packet that no buffer holds, of the pool or of the guest, is dropped and counted; those around it go on")
  func oversized() throws {
    let served = try ServedGuest(features: [.version1])
    try served.configure()
    let burst = PacketBurst(try PacketPool(count: 64, payloadLength: 100))
    served.guest.send(2)
    served.guest.send(2, length: 101)
    served.guest.send(2, length: 100)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 4)
    #expect((0..<4).map { burst.payloadLength(of: $0) } == [64, 64, 100, 100])
    let taken = served.fromGuest.statistics
    #expect(taken.packets == 4 && taken.bytes == 328 && taken.dropped == 2 && taken.oversized == 2)
    let long = PacketBurst()
    long.append(length: 64) { _ in }
    long.append(length: 245) { _ in }
    long.append(length: 244) { _ in }
    served.guest.offer(4)
    #expect(served.toGuest.enqueueBurst(from: long) == 3 && long.count == 0)
    let given = served.toGuest.statistics
    #expect(given.packets == 2 && given.oversized == 1 && given.dropped == 1)
  }

  @Test("Packets are counted by length, destination and descriptors, where they are taken and where they are given")
  func statistics() throws {
    let served = try ServedGuest()
    try served.configure()
    let guest = served.guest
    // The numbers that the payloads begin with, 0 to 9, make every second one a multicast.
    for (length, links) in [
      (8, 1), (63, 1), (64, 1), (65, 2), (127, 2), (128, 3), (240, 4), (241, 5), (242, 8), (243, 9),
    ] {
      guest.send(1, length: length, links: links)
    }
    guest.offer(20)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 10)
    burst.withPayload(of: 4) { payload in for i in 0..<6 { payload[i] = 0xff } }
    #expect(served.toGuest.enqueueBurst(from: burst) == 10)
    for (queue, broadcast) in [(served.fromGuest, UInt64(0)), (served.toGuest, 1)] {
      let statistics = queue.statistics
      #expect(statistics.packets == 10 && statistics.bytes == 1421)
      #expect(statistics.undersizePackets == 2 && statistics.size64Packets == 1)
      #expect(statistics.size65To127Packets == 2 && statistics.size128To255Packets == 5)
      #expect(statistics.multicastPackets == 5 && statistics.broadcastPackets == broadcast)
    }
    #expect(served.fromGuest.statistics.chainLengths == [3, 2, 2, 2, 1, 0, 0, 0])
    // 256 bytes a buffer: the longest one has 255 of them.
    #expect(served.toGuest.statistics.chainLengths == [10, 0, 0, 0, 0, 0, 0, 0])
    burst.append(length: 600) { _ in }
    #expect(served.toGuest.enqueueBurst(from: burst) == 1)
    #expect(served.toGuest.statistics.chainLengths == [10, 0, 1, 0, 0, 0, 0, 0])
    #expect(served.toGuest.statistics.size512To1023Packets == 1)
  }

  @Test("A call that its descriptor does not take is counted as failed, and harms nothing")
  func failedCalls() throws {
    let served = try ServedGuest()
    try served.configure()
    // Sessions let none in; what an engine or an application makes of it is not known here.
    let none = OwnedFD(adopting: try .open(FilePath("/dev/null"), .readWrite))
    let vring = served.guest.start(1)
    try served.device.setVring(served.guest.description(vring, call: none), enabled: true)
    served.guest.send(1)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 1)
    #expect(served.fromGuest.statistics.failedCalls == 1 && served.fromGuest.statistics.calls == 0)
    let call = try EventFD.make()
    try served.device.setVring(served.guest.description(vring, call: call), enabled: true)
    served.guest.send(1)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 1)
    #expect(served.fromGuest.statistics.failedCalls == 1 && served.fromGuest.statistics.calls == 1)
  }

  @Test("With an empty pool nothing is taken, and nothing lost; the times are counted")
  func starved() throws {
    let served = try ServedGuest()
    try served.configure()
    let pool = try PacketPool(count: 20)
    let (one, two) = (PacketBurst(pool), PacketBurst(pool))
    served.guest.send(30)
    served.guest.offer(40)
    #expect(served.fromGuest.dequeueBurst(into: one) == 20)
    #expect(served.fromGuest.statistics.allocationFailures == 1)
    #expect(served.fromGuest.dequeueBurst(into: two) == 0)
    #expect(served.fromGuest.statistics.allocationFailures == 2)
    #expect(served.toGuest.enqueueBurst(from: one) == 20)
    #expect(served.fromGuest.dequeueBurst(into: one) == 10)
    #expect(served.toGuest.enqueueBurst(from: one) == 10)
    served.guest.collect()
    #expect(served.guest.received == 30 && served.guest.fault == nil)
  }

  @Test(
    "Memory that is gone is reported once a ring, with its region; nothing more comes of its queues, until there is other"
  )
  func memoryLost() throws {
    try BusErrorGuard.install()
    let served = try ServedGuest()
    try served.configure()
    served.guest.send(2)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 2)
    served.guest.truncate()
    for queue in [served.fromGuest, served.toGuest] {
      for _ in 0..<3 { #expect(queue.pending == 0) }
      #expect(queue.state == .broken(.memoryLost) && queue.statistics.broken == 1)
    }
    #expect(served.fromGuest.dequeueBurst(into: burst) == 0)
    let reports = served.observer.reports.withLock { $0 }
    #expect(reports.count == 2)
    for report in reports {
      guard case .memoryLost(let reason) = report else {
        Issue.record("\(report)")
        continue
      }
      #expect(reason.contains("memory region") && reason.contains("is gone under the device"))
    }
    // Another guest's device is none the worse, whatever was lost before.
    let other = try ServedGuest()
    try other.configure()
    other.guest.send(1)
    #expect(other.fromGuest.dequeueBurst(into: burst) == 1)
    #expect(other.fromGuest.isRunning && other.observer.reports.withLock { $0.isEmpty })
  }

  @Test("A broken ring is reported once, its queue says so until it is started again, and the other one goes on")
  func broken() throws {
    let served = try ServedGuest()
    try served.configure()
    served.guest.breakRing(1)
    for _ in 0..<3 { #expect(served.fromGuest.dequeueBurst(into: burst) == 0) }
    #expect(served.fromGuest.state == .broken(.availableIndex) && served.toGuest.state == .running)
    let reports = served.observer.reports.withLock { $0 }
    #expect(reports == [.vringBroken(index: 1, reason: RingFault.availableIndex.description)])
    #expect(served.fromGuest.statistics.broken == 1)
    _ = try served.stopVring(1)
    #expect(served.fromGuest.state == .stopped)
  }

  @Test("A burst in the middle of another thread's does nothing, whatever it is, and is counted")
  func overlap() throws {
    let served = try ServedGuest()
    try served.configure()
    served.guest.send(2)
    served.guest.offer(2)
    let other = PacketBurst()
    other.append(length: 60) { _ in }
    _ = served.port.servers[0].transmit.ownership.attempt { _ in
      #expect(served.fromGuest.dequeueBurst(into: burst) == 0 && served.fromGuest.pending == 0)
      #expect(!served.fromGuest.requestWakeup())
      // The other queue of the pair is not concerned.
      #expect(served.toGuest.enqueueBurst(from: other) == 1)
    }
    #expect(served.fromGuest.overlaps == 3 && served.toGuest.overlaps == 0)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 2)
  }

  @Test("A sleeper is woken by a kick that it has asked for, and by every change, and by nothing else")
  func wakeups() throws {
    let served = try ServedGuest()
    let queue = served.fromGuest
    #expect(!isReadable(queue))
    #expect(queue.requestWakeup())
    try served.configure()
    #expect(isReadable(queue))
    queue.acknowledgeWakeup()
    #expect(!isReadable(queue))
    // Whoever does bursts is not kicked.
    #expect(queue.dequeueBurst(into: burst) == 0)
    served.guest.send(1)
    #expect(!isReadable(queue))
    #expect(!queue.requestWakeup())
    #expect(queue.dequeueBurst(into: burst) == 1)
    #expect(queue.requestWakeup())
    served.guest.send(1)
    #expect(isReadable(queue))
    queue.wait()
    queue.acknowledgeWakeup()
    #expect(!isReadable(queue) && queue.statistics.kicks == 1)
    #expect(queue.dequeueBurst(into: burst) == 1)
    // Nothing else is to be done: asking again wakes again, by another descriptor too.
    try served.guest.exchangeKick(1)
    try served.setVring(served.guest.start(1))
    queue.wait()
    #expect(queue.requestWakeup())
    served.guest.send(1)
    queue.wait()
    #expect(queue.dequeueBurst(into: burst) == 1)
    _ = try served.stopVring(1)
    queue.wait()
    #expect(queue.state == .stopped && queue.requestWakeup())
    _ = try served.close()
    queue.wait()
    #expect(queue.state == .idle)
  }

  @Test("Who waits for more buffers sleeps until there are more, and not while there are too few")
  func tooFewBuffers() throws {
    let served = try ServedGuest()
    try served.configure()
    let queue = served.toGuest
    // Two buffers of 256 bytes are not enough for it.
    #expect(burst.append(length: 600) { _ in })
    served.guest.offer(2)
    #expect(queue.enqueueBurst(from: burst) == 0 && burst.count == 1)
    queue.acknowledgeWakeup()
    #expect(queue.pending == 2 && queue.requestWakeup() && !isReadable(queue))
    served.guest.offer(1)
    #expect(isReadable(queue) && !queue.requestWakeup())
    #expect(queue.enqueueBurst(from: burst) == 1)
  }

  @Test("On a disabled queue a sleeper is woken for what is to be dropped, and not for buffers")
  func wakeupsWhileDisabled() throws {
    let served = try ServedGuest()
    try served.configure()
    for index in 0..<2 { try served.setVring(served.guest.start(index), enabled: false) }
    for queue in [served.fromGuest, served.toGuest] {
      queue.acknowledgeWakeup()
      #expect(queue.state == .disabled && queue.requestWakeup() && !isReadable(queue))
    }
    served.guest.offer(4)
    #expect(served.toGuest.requestWakeup())
    served.guest.send(1)
    #expect(isReadable(served.fromGuest) && !served.fromGuest.requestWakeup())
    #expect(served.fromGuest.dequeueBurst(into: burst) == 0 && served.fromGuest.requestWakeup())
    served.guest.collect()
    #expect(served.guest.returned == 1)
  }

  @Test("A ring without a kick descriptor is to be polled, and a wait on it is short")
  func polled() throws {
    let served = try ServedGuest()
    try served.configure()
    var description = served.guest.description(served.guest.start(1))
    description.kick = nil
    try served.device.setVring(description, enabled: true)
    #expect(!served.fromGuest.requestWakeup())
    served.fromGuest.wait()
    served.fromGuest.wait(milliseconds: 10_000_000)
  }

  @Test("Packets go to the right direction's queue only")
  func directions() async throws {
    await #expect(processExitsWith: .failure) {
      let port = try ApplicationPort(name: "x", pairs: 1)
      port.pairs[0].receive.dequeueBurst(into: PacketBurst())
    }
    await #expect(processExitsWith: .failure) {
      let port = try ApplicationPort(name: "x", pairs: 1)
      port.pairs[0].transmit.enqueueBurst(from: PacketBurst())
    }
  }
}
