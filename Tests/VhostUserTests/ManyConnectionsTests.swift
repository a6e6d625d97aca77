import FrontEndTestSupport
import Testing
import VDPA
import VhostUser
import Virtio

/// As many connections as one process is asked to hold, on one thread for sessions and one worker.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct ManyConnectionsTests {
  private static let count = 1024
  /// Of a connection, at both ends, which are in this process; and some of its own.
  private static let descriptors = count * 17 + 200

  /// A guest with its front-end.
  private struct Machine {
    let socket: VhostUserSocket
    let frontEnd: RawFrontEnd
    let guest: Guest
  }

  /// A message that is broken off.
  struct Stall: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let message: [UInt8]
    let prefix: Int
    var hasDescriptor = false

    static let all: [Stall] = {
      let state = VringStatePayload(index: 0, number: 1).encoded
      let enable =
        MessageHeader(request: FrontendRequest.setVringEnable.rawValue, flags: .needReply, size: state.count).encoded
        + state
      let file = VringFilePayload(index: 0, hasDescriptor: true).encoded
      let call =
        MessageHeader(request: FrontendRequest.setVringCall.rawValue, flags: .needReply, size: file.count).encoded
        + file
      return [
        Stall(testDescription: "after one byte", message: enable, prefix: 1),
        Stall(testDescription: "in its header", message: enable, prefix: 11),
        Stall(testDescription: "after its header", message: enable, prefix: 12),
        Stall(testDescription: "in its payload", message: enable, prefix: 16),
        Stall(
          testDescription: "before its last byte, with a descriptor", message: call, prefix: 19, hasDescriptor: true),
      ]
    }()
  }

  @Test("1,024 connections with two started rings each are all served, also while one stalls anywhere in a message")
  func allServed() throws {
    try #require(
      OpenFileLimit.raise() >= Self.descriptors, "this test needs \(Self.descriptors) open files: ulimit -Hn")
    let world = try SocketWorld()
    let machines = try (0..<Self.count).map { i in
      let socket = try world.listening("\(i)")
      let guest = try Guest(format: i.isMultiple(of: 2) ? .split : .packed)
      let frontEnd = try RawFrontEnd(path: socket.status.path)
      try guest.run(with: frontEnd)
      return Machine(socket: socket, frontEnd: frontEnd, guest: guest)
    }
    #expect(machines.allSatisfy { $0.socket.status.isReady })
    for machine in machines { #expect(try machine.guest.exchange([1, 2, 3]) == [1, 2, 3]) }
    for (i, stall) in Stall.all.enumerated() {
      let stalled = machines[i * 200]
      let attached = stall.hasDescriptor ? [stalled.guest.rings[0].call.rawValue] : []
      stalled.frontEnd.send(bytes: Array(stall.message.prefix(stall.prefix)), descriptors: attached)
      for machine in machines where machine.socket !== stalled.socket {
        #expect(try machine.frontEnd.ask(.getStatus) == 0x0f)
      }
      // Its own packets flow as well: they need no message.
      for machine in [stalled, machines[1], machines[1023]] {
        #expect(try machine.guest.exchange([4, 5]) == [4, 5], "\(stall.testDescription)")
      }
      stalled.frontEnd.send(bytes: Array(stall.message.dropFirst(stall.prefix)))
      #expect(try stalled.frontEnd.answer()?.value == 0, "\(stall.testDescription)")
    }
    for machine in machines { machine.socket.stop() }
  }

  @Test("1,024 sockets that connect to one front-end, whose queue holds few, all get there, also after a restart")
  func allConnected() throws {
    try #require(OpenFileLimit.raise() >= Self.count * 3 + 200, "this test needs more open files: ulimit -Hn")
    let world = try SocketWorld()
    let path = world.folder.path("front-end.sock")
    let sockets = (0..<Self.count).map { _ in world.socket(.connect(path: path)) }
    for socket in sockets { try socket.start() }
    for _ in 0..<2 {
      let listener = try FrontEndListener(path: path)
      let frontEnds = try sockets.map { _ in try #require(try listener.accept()) }
      for frontEnd in frontEnds { _ = try frontEnd.ask(.getFeatures) }
      #expect(sockets.allSatisfy { $0.status.isConnected })
      listener.close()
      for frontEnd in frontEnds { frontEnd.hangUp() }
    }
    for socket in sockets { socket.stop() }
  }
}
