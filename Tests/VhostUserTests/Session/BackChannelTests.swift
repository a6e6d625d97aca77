import FrontEndTestSupport
import Glibc
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// Requests of the back-end (vhost-user, Back-end message types): sent where they were negotiated, never waited for.
struct BackChannelTests {
  @Test("A change of the configuration space is told, once a change, without asking for an answer")
  func configurationChange() throws {
    let world = try CapableWorld()
    let channel = try world.openBackChannel()
    try skipDoorbells(of: channel)
    for _ in 0..<3 {
      world.engine.report(.configurationChanged)
      let next = try #require(try channel.next())
      guard case .configurationChange = next.message else {
        Issue.record("\(next.message)")
        return
      }
      #expect(!next.header.flags.contains(.needReply))
    }
  }

  @Test("Nothing is told that was not negotiated")
  func notNegotiated() throws {
    let world = try CapableWorld(
      negotiating: CapableWorld.protocolFeatures.subtracting([.configuration, .hostNotifier]))
    let channel = try world.openBackChannel()
    world.engine.report(.configurationChanged)
    try world.settle()
    #expect(try channel.next(within: 50) == nil)
  }

  @Test("A suspended device sends nothing")
  func suspended() throws {
    let world = try CapableWorld()
    let channel = try world.openBackChannel()
    try skipDoorbells(of: channel)
    _ = try world.frontEnd.stop(0)
    _ = try world.frontEnd.stop(1)
    // The doorbell goes with the device.
    while try channel.next(within: 50) != nil {}
    world.engine.report(.configurationChanged)
    try world.settle()
    #expect(try channel.next(within: 50) == nil)
  }

  @Test("Another channel takes the place of the first, which is closed")
  func replaced() throws {
    let world = try CapableWorld(negotiating: CapableWorld.protocolFeatures.subtracting(.hostNotifier))
    let first = try world.openBackChannel()
    let second = try world.openBackChannel()
    #expect(try first.next() == nil)
    world.engine.report(.configurationChanged)
    #expect(try second.next() != nil)
  }

  @Test("A channel that ends, or whose answers nobody asked for, ends alone")
  func ends() throws {
    let world = try CapableWorld()
    for answered in [false, true] {
      let channel = try world.openBackChannel()
      if answered {
        try channel.answer(MessageHeader(request: 9, size: 0), 0)
      } else {
        StreamSocket.shutDown(channel.socket)
      }
      try world.settle()
      world.engine.report(.configurationChanged)
      try world.settle()
    }
    #expect(world.socket.status.isReady)
  }

  @Test("A channel that is never read costs no more than its budget")
  func neverRead() throws {
    let world = try CapableWorld()
    let channel = try world.openBackChannel()
    for i in 0..<50_000 {
      world.engine.report(.configurationChanged)
      if i % 1000 == 0 { try world.settle() }
    }
    try world.settle()
    #expect(world.socket.status.isReady)
    var count = 0
    while try channel.next(within: 1000) != nil { count += 1 }
    #expect(count < 50_000)
    // The next one is used again.
    let other = try world.openBackChannel()
    try skipDoorbells(of: other)
    world.engine.report(.configurationChanged)
    #expect(try other.next() != nil)
  }

  @Test("Only a connected stream socket can be a back-channel")
  func wrongDescriptors() throws {
    let world = try CapableWorld()
    let pipe = try FileDescriptor.pipe()
    defer {
      try? pipe.readEnd.close()
      try? pipe.writeEnd.close()
    }
    let event = try EventFD.make()
    for descriptor in [pipe.writeEnd.rawValue, world.guest.file.rawValue, event.rawValue] {
      #expect(try !world.frontEnd.tell(.setBackendRequestFD, descriptors: [descriptor]))
    }
    #expect(world.socket.status.isReady)
  }

  // MARK: Shared objects

  @Test("Objects that come and go are told by their UUID; one that is wanted is asked for, and handed over or not")
  func sharedObjects() throws {
    let world = try CapableWorld(negotiating: CapableWorld.protocolFeatures.subtracting(.hostNotifier))
    let channel = try world.openBackChannel()
    func uuid(_ first: UInt8) -> [UInt8] { [first] + [UInt8](repeating: 7, count: 15) }
    world.engine.report(.sharedObjectAdded(uuid: uuid(1)))
    world.engine.report(.sharedObjectRemoved(uuid: uuid(2)))
    // What has no UUID is not told.
    world.engine.report(.sharedObjectAdded(uuid: [1]))
    for first in [UInt8(3), 4] { world.engine.report(.sharedObjectWanted(uuid: uuid(first))) }
    guard case .sharedObjectAdd(let added) = try #require(try channel.next()).message,
      case .sharedObjectRemove(let removed) = try #require(try channel.next()).message
    else {
      Issue.record("objects are told in another way")
      return
    }
    #expect(added.bytes == uuid(1) && removed.bytes == uuid(2))
    let object = try EventFD.make()
    for (value, first) in [(UInt64(0), UInt8(3)), (1, 4)] {
      let (message, header) = try #require(try channel.next())
      guard case .sharedObjectLookup(let wanted) = message else {
        Issue.record("\(message)")
        return
      }
      #expect(wanted.bytes == uuid(first) && header.flags.contains(.needReply))
      try channel.answer(header, value, descriptors: [object])
    }
    let deadline = ContinuousClock.now + .seconds(10)
    while world.engine.told.last != "found 4: nothing" && ContinuousClock.now < deadline { usleep(1000) }
    #expect(Array(world.engine.told.suffix(2)) == ["found 3: an eventfd", "found 4: nothing"])
  }

  // MARK: Doorbells

  /// Takes the doorbell of ring 0 in.
  private func skipDoorbells(of channel: BackChannelPeer) throws {
    let next = try #require(try channel.next())
    try channel.answer(next.header, 0)
  }

  @Test(
    "A doorbell is offered for each running ring that has one, with its page, asking for an answer", arguments: [0, 1])
  func doorbells(answer: UInt64) throws {
    let world = try CapableWorld()
    let channel = try world.openBackChannel()
    let next = try #require(try channel.next())
    guard case .vringHostNotifier(let area, let file?) = next.message else {
      Issue.record("\(next.message)")
      return
    }
    #expect(area == VringAreaPayload(index: 0, hasDescriptor: true, size: 4096, offset: 0))
    #expect(file.kernelName == world.engine.page.kernelName)
    #expect(next.header.flags.contains(.needReply))
    // Ring 1 has none, and 2 and 3 do not run. A front-end that has no use for it is served all the same.
    try channel.answer(next.header, answer)
    #expect(try channel.next(within: 50) == nil)
    try world.settle()
    #expect(world.socket.status.isReady)
  }

  @Test("A doorbell is taken back before its device goes")
  func withdrawn() throws {
    let world = try CapableWorld()
    let channel = try world.openBackChannel()
    try skipDoorbells(of: channel)
    world.engine.report(.failed(reason: "it caught fire"))
    let next = try #require(try channel.next())
    guard case .vringHostNotifier(let area, nil) = next.message else {
      Issue.record("\(next.message)")
      return
    }
    #expect(area.index == 0 && !area.hasDescriptor)
  }

  @Test(
    "Without the protocol features there are no doorbells",
    arguments: [.hostNotifier, .backendSendFD] as [ProtocolFeatures])
  func noDoorbells(without feature: ProtocolFeatures) throws {
    let world = try CapableWorld(negotiating: CapableWorld.protocolFeatures.subtracting(feature))
    let channel = try world.openBackChannel()
    try world.settle()
    #expect(try channel.next(within: 50) == nil)
  }
}
