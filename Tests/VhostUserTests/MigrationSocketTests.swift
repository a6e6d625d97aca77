import Datapath
import FrontEndTestSupport
import Glibc
import Logging
import MemoryTestSupport
import SimulatorEngine
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// The messages of a migration over a socket of the software datapath.
struct MigrationSocketTests {
  private static let features: ProtocolFeatures = [
    .multiqueue, .replyAck, .memorySlots, .status, .logSharedMemory, .rarp, .mtu,
  ]

  /// A socket with a front-end of which packets flow.
  private final class World {
    let software: SoftwareEngine
    let threads: SessionThreads
    let socket: VhostUserSocket
    let guest: Guest
    private(set) var frontEnd: RawFrontEnd
    private let features: ProtocolFeatures
    private let folder = TemporaryFolder()

    /// - Parameter isBound: Whether it is bound to a device that keeps no dirty log, with software standing by.
    init(_ format: RingLayout.Format = .split, parameters: Parameters = [:], isBound: Bool = false) throws {
      features = MigrationSocketTests.features.subtracting(isBound ? [.rarp, .mtu] : [])
      software = try SoftwareEngine()
      let registry = Registry(software: software)
      try registry.register(SimulatorDriver())
      threads = try SessionThreads()
      var logger = Logger(label: "test")
      logger.logLevel = .critical
      let path = folder.path("vm0.sock")
      var configuration = SocketConfiguration(endpoint: .listen(path: path), parameters: parameters)
      if isBound { configuration.failover = .software }
      socket = VhostUserSocket(configuration, registry: registry, threads: threads, logger: logger)
      if isBound {
        let engine = try registry.addEngine(driver: "simulator", at: EngineAddress("virtual"))
        try socket.bind(DeviceHandle(engine: engine, device: 0))
      }
      try socket.start()
      guest = try Guest(format: format)
      frontEnd = try RawFrontEnd(path: path)
      try begin()
    }

    private func begin() throws {
      try frontEnd.negotiate(features: guest.features, protocolFeatures: features)
      guest.share(with: frontEnd)
      for ring in guest.rings { guest.start(ring, with: frontEnd) }
      frontEnd.send(.setStatus, bytes(0x0f))
      _ = try frontEnd.ask(.getStatus)
    }

    /// Another front-end takes the place of this one.
    func reconnect() throws {
      frontEnd.hangUp()
      for ring in guest.rings { guest.renew(ring) }
      // The rings begin anew, for both sides.
      for ring in guest.rings { guest.write([0, 0, 0, 0], at: ring.base + ring.places.used) }
      frontEnd = try RawFrontEnd(path: socket.status.path)
      try begin()
    }

    /// The answer to SET_LOG_BASE; nil when the connection ends.
    func setLogBase(_ test: TestLog, size: UInt64? = nil) throws -> UInt64? {
      frontEnd.send(
        .setLogBase, LogPayload(size: size ?? test.size, offset: test.offset).encoded,
        descriptors: [test.file.rawValue])
      return try frontEnd.answer()?.value
    }

    func setLogging(_ isOn: Bool) throws -> Bool {
      let features = guest.features.union(isOn ? [.protocolFeatures, .logAll] : .protocolFeatures)
      return try frontEnd.tell(.setFeatures, bytes(features.rawValue))
    }

    func noteUsedRing(_ index: Int, at address: UInt64) throws -> Bool {
      var payload = guest.rings[index].addresses
      (payload.log, payload.logsUsedRing) = (address, true)
      return try frontEnd.tell(.setVringAddress, payload.encoded)
    }

    deinit {
      frontEnd.hangUp()
      socket.stop()
      threads.stop()
      software.stop()
    }
  }

  private func waits(_ condition: () -> Bool) -> Bool {
    for _ in 0..<50_000 {
      if condition() { return true }
      usleep(100)
    }
    return false
  }

  private static let packet = [UInt8](repeating: 7, count: 100)

  @Test(
    "Pages are noted from the answer to the one message on, and to the other no longer",
    arguments: RingLayout.Format.allCases)
  func logged(format: RingLayout.Format) throws {
    let world = try World(format)
    let (receive, transmit) = (world.guest.rings[0], world.guest.rings[1])
    let test = try TestLog(upTo: Guest.guestBase + world.guest.size)
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    #expect(try world.setLogBase(test) == 0)
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    #expect(test.take() == [])
    #expect(try world.setLogging(true))
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    let ring: Set<UInt64> = format == .split ? [] : [receive.base / 4096, transmit.base / 4096]
    let payload = test.take()
    #expect(payload.isSuperset(of: ring) && payload.subtracting(ring).count == 1)
    #expect(payload.subtracting(ring).allSatisfy { $0 >= receive.firstBuffer / 4096 && $0 < transmit.base / 4096 })
    for (index, ring) in [(0, receive), (1, transmit)] {
      #expect(try world.noteUsedRing(index, at: ring.base + ring.places.used))
    }
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    // What the worker writes in order to sleep comes when it comes.
    let used = Set([receive, transmit].map { ($0.base + $0.places.used) / 4096 })
    #expect(test.take().subtracting(ring).subtracting(used).count == 1)
    if format == .split {
      for ring in [receive, transmit] { #expect(try world.noteUsedRing(ring.index, at: 0x5_0000)) }
      _ = test.take()
      #expect(try world.guest.exchange(Self.packet) == Self.packet)
      #expect(test.take().contains(0x50))
    }
    #expect(try world.setLogging(false))
    _ = test.take()
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    #expect(test.take() == [])
  }

  @Test(
    "A device that keeps no log is stood in for while writes are noted, and serves again afterwards",
    arguments: RingLayout.Format.allCases)
  func loggedElsewhere(format: RingLayout.Format) throws {
    let world = try World(format, isBound: true)
    let socket = world.socket
    let binding = socket.binding
    let test = try TestLog(upTo: Guest.guestBase + world.guest.size)
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    #expect(socket.status.datapath == "simulator")
    #expect(try world.setLogBase(test) == 0)
    for round in 1...3 {
      #expect(try world.setLogging(true))
      #expect(socket.status.datapath == "software" && socket.binding == binding && socket.status.isReady)
      #expect(try world.guest.exchange(Self.packet) == Self.packet)
      #expect(!test.take().isEmpty)
      // Cancelled: the device serves again, from where software stands.
      #expect(try world.setLogging(false))
      _ = try world.frontEnd.ask(.getFeatures)
      #expect(waits { socket.status.datapath == "simulator" } && socket.status.isReady)
      _ = test.take()
      #expect(try world.guest.exchange(Self.packet) == Self.packet, "round \(round)")
      #expect(test.take() == [])
    }
    // The guest has gone while writes were noted: the next one has the device.
    #expect(try world.setLogging(true))
    try world.reconnect()
    #expect(socket.status.datapath == "simulator" && socket.binding == binding && socket.status.failovers == 0)
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
  }

  @Test("Another device may be bound meanwhile if that keeps a log, and none else")
  func boundElsewhere() throws {
    let world = try World(isBound: true)
    let (socket, own) = (world.socket, world.socket.binding)
    let test = try TestLog(upTo: Guest.guestBase + world.guest.size)
    #expect(try world.setLogBase(test) == 0 && world.setLogging(true))
    try socket.unbind()
    #expect(socket.binding == .software && socket.status.datapath == "software")
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    #expect(!test.take().isEmpty)
    // The device was given back, and is refused while writes are noted.
    let error = try #require(throws: VDPAError.self) { try socket.bind(own) }
    #expect(error.description.contains("LOG_SHMFD"))
    #expect(try world.setLogging(false))
    try socket.bind(own)
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
  }

  @Test("SET_LOG_FD is told of what is noted, and a descriptor of another kind is refused")
  func signal() throws {
    let world = try World()
    let test = try TestLog(upTo: Guest.guestBase + world.guest.size)
    let signal = try EventFD.make()
    #expect(try world.frontEnd.tell(.setLogFD, descriptors: [test.file.rawValue]) == false)
    #expect(try world.setLogBase(test) == 0 && world.setLogging(true))
    #expect(try world.frontEnd.tell(.setLogFD, descriptors: [signal.rawValue]))
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    #expect(EventFD.drain(signal) > 0)
  }

  @Test("A log that cannot be used ends the connection", arguments: [0, 1, 2])
  func refused(what: Int) throws {
    let world = try World()
    let test = try TestLog(upTo: Guest.guestBase + world.guest.size)
    switch what {
    case 0: #expect(try world.setLogBase(test, size: test.size - 1) == nil)
    case 1: #expect(try world.setLogBase(test, size: test.size + 4096) == nil)
    default:
      world.frontEnd.send(
        .setLogBase, bytes(.max - 4095) + bytes(8192), descriptors: [test.file.rawValue])
      #expect(try world.frontEnd.isClosed())
    }
  }

  @Test(
    "A log that is truncated while it is used ends the connection, in whichever order it came to be used",
    arguments: RingLayout.Format.allCases, [false, true])
  func truncated(format: RingLayout.Format, isBefore: Bool) throws {
    try BusErrorGuard.install()
    let world = try World(format)
    let (receive, transmit) = (world.guest.rings[0], world.guest.rings[1])
    let test = try TestLog(upTo: Guest.guestBase + world.guest.size)
    #expect(try world.setLogBase(test) == 0 && world.setLogging(true))
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    if isBefore { #expect(try world.setLogging(false)) }
    try #require(ftruncate(test.file.rawValue, 0) == 0)
    if isBefore {
      #expect(try world.guest.exchange(Self.packet) == Self.packet)
      #expect(try world.setLogging(true))
    }
    try world.guest.postEmpty(receive)
    try world.guest.postPacket(transmit, Self.packet)
    #expect(try world.frontEnd.isClosed())
    try behaveWell(at: world.socket.status.path, format: format)
  }

  @Test("Nothing of the next front-end is noted in the log of the one before")
  func gone() throws {
    let world = try World()
    let test = try TestLog(upTo: Guest.guestBase + world.guest.size)
    #expect(try world.setLogBase(test) == 0 && world.setLogging(true))
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    #expect(!test.take().isEmpty)
    try world.reconnect()
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
    #expect(test.take() == [])
  }

  @Test("SEND_RARP announces the guest to the network, and to an application it is the next packet")
  func announced() throws {
    let software = try World()
    #expect(try software.frontEnd.tell(.sendRARP, [0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0]))
    #expect(try software.guest.exchange(Self.packet) == Self.packet)
    #expect(software.socket.status.isReady)
  }

  @Test("NET_SET_MTU is refused outside of what a device can have, and of what the operator allows")
  func mtu() throws {
    let world = try World(parameters: ["mtu": "9000"])
    for (mtu, isTaken) in [(67, false), (68, true), (9000, true), (9001, false), (65536, false)] as [(UInt64, Bool)] {
      #expect(try world.frontEnd.tell(.netSetMTU, bytes(mtu)) == isTaken)
    }
    #expect(try world.guest.exchange(Self.packet) == Self.packet)
  }
}
