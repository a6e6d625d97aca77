import Datapath
import FrontEndTestSupport
import Logging
import SimulatorEngine
import Synchronization
import Testing
import VDPA
import VhostUser
import Virtio

/// Several sockets in one process, on one worker, and the memory of one of them goes.
struct LostMemoryTests {
  /// Remembers why connections ended.
  private final class Recorder: VhostUserSocketDelegate {
    private let ends = Mutex<[VhostUserError]>([])

    /// The next one.
    func next() async throws -> VhostUserError {
      while true {
        if let end = ends.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { return end }
        try await Task.sleep(for: .milliseconds(2))
      }
    }

    func socket(_ socket: VhostUserSocket, event: SocketEvent) {
      if case .disconnected(let error) = event { ends.withLock { $0.append(error) } }
    }
  }

  @Test(
    "The socket whose memory is gone says so and ends its connection; the others of its worker do not notice",
    arguments: [false, true], RingLayout.Format.allCases)
  func others(isBound: Bool, format: RingLayout.Format) async throws {
    try BusErrorGuard.install()
    let software = try SoftwareEngine()
    let registry = Registry(software: software)
    try registry.register(SimulatorDriver())
    let engine = try registry.addEngine(
      driver: "simulator", at: EngineAddress("virtual", parameters: ["devices": "3", "queues": "1"]))
    let threads = try SessionThreads()
    let folder = TemporaryFolder()
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let recorder = Recorder()
    let sockets = try (0..<3).map { i in
      let socket = VhostUserSocket(
        SocketConfiguration(endpoint: .listen(path: folder.path("vm\(i).sock"))), registry: registry, threads: threads,
        logger: logger)
      if isBound { try socket.bind(DeviceHandle(engine: engine, device: i)) }
      socket.setDelegate(recorder)
      try socket.start()
      return socket
    }
    let guests = try sockets.map { socket in
      let guest = try Guest(format: format)
      let frontEnd = try RawFrontEnd(path: socket.status.path)
      try guest.run(with: frontEnd)
      #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3])
      return (guest, frontEnd)
    }
    for round in 0..<2 {
      let (guest, frontEnd) = guests[round]
      try guest.truncate(to: 0)
      for ring in guest.rings { EventFD.signal(ring.kick) }
      #expect(try frontEnd.isClosed())
      for (guest, frontEnd) in guests[(round + 1)...] {
        for i in 0..<50 { #expect(try guest.exchange([UInt8(i), 9]) == [UInt8(i), 9]) }
        _ = try frontEnd.ask(.getStatus)
      }
      // Told when the device is closed and the connection over.
      let end = try await recorder.next()
      #expect(end.code == .memoryLost && end.socket == "vm\(round).sock")
      #expect(end.description.contains("memory region") && end.description.contains("0x40000000"), "\(end)")
      // The next front-end is served.
      try behaveWell(at: sockets[round].status.path, format: format)
      #expect(try await recorder.next().code == .disconnected)
    }
    for socket in sockets { socket.stop() }
    threads.stop()
    try registry.removeEngine(engine)
    software.stop()
  }
}
