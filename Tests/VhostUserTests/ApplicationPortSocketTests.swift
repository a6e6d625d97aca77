import Datapath
import FrontEndTestSupport
import Logging
import Synchronization
import Testing
import VDPA
import VhostUser
import Virtio

/// A socket whose queues an application serves.
struct ApplicationPortSocketTests {
  @Test("The queues of a socket serve one front-end after the other, and say how they stand in between")
  func life() async throws {
    let software = try SoftwareEngine()
    let threads = try SessionThreads()
    let folder = TemporaryFolder()
    let port = try software.makeApplicationPort(named: "vm0", pairs: 2)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let socket = VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: folder.path("vm0.sock")), parameters: port.parameters),
      registry: Registry(software: software), threads: threads, logger: logger)
    #expect(try socket.queueCount == 2)
    // Another device takes the place of the one that was looked at; the queues are the same.
    try socket.setQueueCount(2)

    let isOver = Atomic<Bool>(false)
    let application = try (0..<2).map { i in
      let pair = port.pairs[i]
      return try PinnedThread(name: "application-\(i)") {
        guard let pool = try? PacketPool(count: 128) else { return }
        let burst = PacketBurst(pool)
        while !isOver.load(ordering: .relaxed) {
          pair.transmit.dequeueBurst(into: burst)
          for packet in 0..<burst.count { burst.withPayload(of: packet) { $0[0] = UInt8(i + 100) } }
          pair.receive.enqueueBurst(from: burst)
          // An end comes at any time, and nothing wakes for that.
          if burst.count == 0 { pair.transmit.wait(milliseconds: 10) }
        }
      }
    }
    for _ in 0..<2 {
      try socket.start()
      for _ in 0..<3 {
        #expect(port.pairs.allSatisfy { $0.transmit.state == .idle && !$0.receive.isRunning })
        let guest = try Guest(queues: 2)
        let frontEnd = try RawFrontEnd(path: socket.status.path)
        try guest.run(with: frontEnd)
        #expect(port.pairs.allSatisfy { $0.transmit.isRunning && $0.receive.isRunning })
        for i in 0..<20 {
          #expect(try guest.exchange([0, UInt8(i)], pair: i % 2) == [UInt8(100 + i % 2), UInt8(i)])
        }
        _ = try frontEnd.stop(3)
        #expect(port.pairs[1].transmit.state == .stopped && port.pairs[1].receive.isRunning)
        frontEnd.hangUp()
        let deadline = ContinuousClock.now + .seconds(10)
        while port.pairs[0].transmit.state != .idle || port.pairs[1].receive.state != .idle {
          try #require(ContinuousClock.now < deadline)
          try await Task.sleep(for: .milliseconds(2))
        }
      }
      socket.stop()
    }
    #expect(port.pairs.map(\.transmit.statistics.packets) == [60, 60])
    #expect(port.pairs.map(\.receive.statistics.packets) == [60, 60])
    #expect(port.pairs.allSatisfy { $0.transmit.overlaps == 0 && $0.receive.overlaps == 0 })
    isOver.store(true, ordering: .relaxed)
    for thread in application { thread.join() }
    threads.stop()
    software.stop()
  }
}
