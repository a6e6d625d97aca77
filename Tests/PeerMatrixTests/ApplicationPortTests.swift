import Datapath
import Foundation
import Logging
import Peers
import Synchronization
import Testing
import VDPA
import VhostUser
import Virtio

extension PeerMatrixTests {
  @Test(
    "Frames that an application takes and gives itself come back byte for byte and in order", arguments: [false, true])
  func applicationPort(isPacked: Bool) async throws {
    try await blocking {
      let scratch = try ScratchDirectory("application")
      let software = try SoftwareEngine()
      let threads = try SessionThreads()
      let port = try software.makeApplicationPort(named: "application", pairs: 2)
      var logger = Logger(label: "matrix")
      logger.logLevel = .warning
      let socket = VhostUserSocket(
        SocketConfiguration(endpoint: .listen(path: scratch.file("sock")), parameters: port.parameters),
        registry: Registry(software: software), threads: threads, logger: logger)
      try socket.start()

      let isOver = Atomic<Bool>(false)
      let running = DispatchGroup()
      for pair in port.pairs {
        running.enter()
        Thread.detachNewThread {
          defer { running.leave() }
          guard let pool = try? PacketPool(count: 256, payloadLength: 2048) else { return }
          // Through a second burst, as a switch would do it.
          let (taken, queued) = (PacketBurst(pool), PacketBurst(pool))
          while !isOver.load(ordering: .relaxed) {
            pair.transmit.dequeueBurst(into: taken)
            taken.move(to: queued)
            pair.receive.enqueueBurst(from: queued)
            if queued.count == 0 { pair.transmit.wait(milliseconds: 100) }
          }
        }
      }
      var options = Testpmd.FrontEnd.Options(queues: 2)
      options.packed = isPacked
      let outcome = try PcapRoundTrip(options: options, framesPerQueue: 2000).run(socketPath: socket.status.path) {
        // What is sent while a ring is disabled goes nowhere.
        for _ in 0..<10_000 where !port.pairs.allSatisfy({ $0.transmit.isRunning && $0.receive.isRunning }) {
          usleep(1000)
        }
      }
      isOver.store(true, ordering: .relaxed)
      running.wait()
      #expect(outcome.comparisons.count == 2)
      for comparison in outcome.comparisons {
        #expect(comparison.isEqual && comparison.returned == 2000, "\(comparison)")
      }
      #expect(socket.taken == [2000, 2000] && socket.given == [2000, 2000] && socket.dropped == 0)
      // Who sleeps is kicked: the packets did not come by polling alone.
      #expect(port.pairs.allSatisfy { $0.transmit.statistics.kicks > 0 && $0.transmit.overlaps == 0 })
      socket.stop()
      threads.stop()
      software.stop()
    }
  }
}
