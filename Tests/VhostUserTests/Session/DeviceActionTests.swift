import FrontEndTestSupport
import Glibc
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// Messages that a device's capabilities answer: configuration, MTU, announcement, reset, its own state, shared objects.
struct DeviceActionTests {
  // MARK: Configuration

  @Test("What the guest writes reaches the device, which may refuse it; a migrated device is restored whole")
  func writeConfiguration() throws {
    let world = try CapableWorld()
    func write(_ offset: UInt32, _ bytes: [UInt8], restoring: Bool = false) throws -> Bool {
      try world.frontEnd.tell(
        .setConfiguration,
        ConfigurationPayload(offset: offset, bytes: bytes, restoresMigration: restoring).encoded)
    }
    #expect(try write(4, [1, 2]))
    #expect(try !write(0, [9]))
    #expect(try write(0, [3], restoring: true))
    #expect(Array(world.engine.told.suffix(2)) == ["write [1, 2] at 4", "write [3] at 0 restoring"])
  }

  @Test("The MTU is the device's to take or to refuse")
  func mtu() throws {
    let world = try CapableWorld()
    #expect(try world.frontEnd.tell(.netSetMTU, bytes(9000)))
    #expect(try !world.frontEnd.tell(.netSetMTU, bytes(9001)))
    #expect(world.engine.told.last == "mtu 9000")
  }

  @Test("A guest that has arrived is announced after its device was told")
  func rarp() throws {
    let world = try CapableWorld()
    #expect(try world.frontEnd.tell(.sendRARP, [0x52, 0x54, 0, 1, 2, 3, 0, 0]))
    #expect(Array(world.engine.told.suffix(2)) == ["migrationDone", "announce 52:54:00:01:02:03"])
  }

  @Test("A reset stops and disables all rings, and the same connection sets them up again, from 0")
  func reset() throws {
    let world = try CapableWorld()
    #expect(world.socket.status.isReady)
    #expect(try world.frontEnd.tell(.resetDevice))
    try world.settle()
    #expect(world.engine.told.last == "close")
    #expect(world.socket.status.notReadyReason?.contains("vring 0 is not started") == true)
    #expect(try world.frontEnd.stop(0) == 0)
    // Parameters are forgotten: a ring is not started without them.
    #expect(
      try !world.frontEnd.tell(
        .setVringKick, VringFilePayload(index: 0, hasDescriptor: true).encoded,
        descriptors: [world.guest.rings[0].kick.rawValue]))
    for ring in world.guest.rings { world.guest.start(ring, with: world.frontEnd) }
    world.frontEnd.send(.setStatus, bytes(0x0f))
    try world.settle()
    #expect(world.socket.status.isReady)
  }

  // MARK: The device's own state

  private func transfer(
    _ direction: DeviceStatePayload.Direction, through descriptor: CInt, _ world: CapableWorld
  ) throws -> UInt64 {
    try transfer(direction, through: descriptor, by: world.frontEnd)
  }

  private func transfer(
    _ direction: DeviceStatePayload.Direction, through descriptor: CInt, by frontEnd: RawFrontEnd
  ) throws -> UInt64 {
    frontEnd.send(.setDeviceStateFD, DeviceStatePayload(direction).encoded, descriptors: [descriptor])
    return try #require(try frontEnd.answer()?.value)
  }

  @Test("A state of any size goes through the pipe, as fast as the front-end reads", arguments: [0, 1, 300_000])
  func save(size: Int) throws {
    let world = try CapableWorld(running: false)
    let state = (0..<size).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 8) }
    world.engine.state = state
    let pipe = try FileDescriptor.pipe()
    #expect(try transfer(.save, through: pipe.writeEnd.rawValue, world) == 1 << 8)
    try pipe.writeEnd.close()
    var saved: [UInt8] = []
    while true {
      var count = 0
      let piece = try unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, filled in
        filled = try unsafe pipe.readEnd.read(into: UnsafeMutableRawBufferPointer(buffer))
        count = filled
      }
      #expect(piece.count == count)
      if piece.isEmpty { break }
      saved += piece
    }
    try pipe.readEnd.close()
    #expect(saved == state)
    #expect(try world.frontEnd.ask(.checkDeviceState) == 0)
  }

  @Test("A front-end that reads no state is an error of the check, and not the end of a process that minds SIGPIPE")
  func saveUnread() throws {
    // What tests run in may ignore it.
    let before = signal(SIGPIPE, SIG_DFL)
    defer { _ = signal(SIGPIPE, before) }
    let world = try CapableWorld(running: false)
    world.engine.state = [1, 2, 3]
    let pipe = try FileDescriptor.pipe()
    try pipe.readEnd.close()
    #expect(try transfer(.save, through: pipe.writeEnd.rawValue, world) == 1 << 8)
    try pipe.writeEnd.close()
    #expect(try world.frontEnd.ask(.checkDeviceState) == 1)
  }

  @Test("A state that was loaded is the device's after the check, which waits for its end")
  func load() throws {
    let world = try CapableWorld(running: false)
    let pipe = try FileDescriptor.pipe()
    #expect(try transfer(.load, through: pipe.readEnd.rawValue, world) == 1 << 8)
    try pipe.readEnd.close()
    _ = try pipe.writeEnd.writeAll([1, 2, 3])
    world.frontEnd.send(.checkDeviceState)
    _ = try pipe.writeEnd.writeAll([4, 5])
    try pipe.writeEnd.close()
    #expect(try world.frontEnd.answer()?.value == 0)
    #expect(world.engine.state == [1, 2, 3, 4, 5])
  }

  @Test("A state that the device refuses is an error of the check, and changes nothing")
  func loadRefused() throws {
    let world = try CapableWorld(running: false)
    let pipe = try FileDescriptor.pipe()
    _ = try transfer(.load, through: pipe.readEnd.rawValue, world)
    _ = try pipe.writeEnd.writeAll([0xff])
    try pipe.writeEnd.close()
    try pipe.readEnd.close()
    #expect(try world.frontEnd.ask(.checkDeviceState) == 1)
    #expect(world.engine.state.isEmpty)
    // There is no transfer any more.
    #expect(try world.frontEnd.ask(.checkDeviceState) == 1)
  }

  @Test("A state without an end is given up at its limit")
  func loadEndless() throws {
    let world = try CapableWorld(running: false)
    let (own, theirs) = try RawFrontEnd.pair()
    try StreamSocket.setNonBlocking(own)
    _ = try transfer(.load, through: theirs.rawValue, world)
    let piece = [UInt8](repeating: 1, count: 1 << 16)
    var sent = 0
    while sent <= StatePipe.maximumSize + (1 << 20) {
      guard let count = try? StreamSocket.send(own, piece[...], descriptors: []) else {
        var entry = pollfd(fd: own.rawValue, events: Int16(POLLOUT), revents: 0)
        if unsafe poll(&entry, 1, 10_000) != 1 || entry.revents & Int16(POLLHUP | POLLERR) != 0 { break }
        continue
      }
      sent += count
    }
    #expect(sent <= StatePipe.maximumSize + (1 << 20))
    #expect(try world.frontEnd.ask(.checkDeviceState) == 1)
  }

  @Test("A state goes through a pipe or a socket only, and while no ring is started")
  func wrongTransfers() throws {
    let world = try CapableWorld(running: false)
    let event = try EventFD.make()
    for descriptor in [world.guest.file.rawValue, event.rawValue] {
      #expect(try transfer(.save, through: descriptor, world) == 1)
    }
    try world.run()
    let pipe = try FileDescriptor.pipe()
    #expect(try transfer(.save, through: pipe.writeEnd.rawValue, world) == 1)
    #expect(try world.frontEnd.ask(.checkDeviceState) == 1)
    try pipe.writeEnd.close()
    try pipe.readEnd.close()
    #expect(world.socket.status.isReady)
  }

  // MARK: Shared objects

  @Test("An object is given with its descriptor; one that is not there is an answer without")
  func sharedObjects() throws {
    let world = try CapableWorld()
    for (first, isThere) in [(UInt8(1), true), (2, false)] {
      let uuid = [first] + [UInt8](repeating: 0, count: 15)
      world.frontEnd.send(.getSharedObject, uuid)
      let socket = try #require(world.frontEnd.socket)
      var entry = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
      #expect(unsafe poll(&entry, 1, 10_000) == 1)
      let received = try StreamSocket.receive(socket, atMost: 12, descriptors: 8)
      #expect(received.descriptors.count == (isThere ? 1 : 0))
      #expect(try StreamSocket.receive(socket, atMost: 100, descriptors: 8).bytes == uuid)
    }
  }

  @Test("A front-end that asks for the end of a state and does not come to it keeps nobody from ending its connection")
  func endlessCheck() throws {
    let world = try CapableWorld(running: false)
    let pipe = try FileDescriptor.pipe()
    #expect(try transfer(.load, through: pipe.readEnd.rawValue, world) == 1 << 8)
    world.frontEnd.send(.checkDeviceState)
    world.frontEnd.hangUp()
    let next = try RawFrontEnd(path: world.socket.status.path)
    try next.negotiate(protocolFeatures: CapableWorld.protocolFeatures)
    #expect(try transfer(.load, through: pipe.readEnd.rawValue, by: next) == 1 << 8)
    next.send(.checkDeviceState)
    // While the front-end is there, too.
    world.socket.stop()
    #expect(!world.socket.status.isConnected)
    next.hangUp()
    try pipe.readEnd.close()
    try pipe.writeEnd.close()
  }
}
