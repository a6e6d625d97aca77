import Peers

/// Drives a socket of the daemon with a real front-end: DPDK's testpmd.
struct Driver {
  let daemon: DaemonProcess
  let seconds: Double

  /// Sends packets through `socket` and receives them again, and looks at what carried them.
  func observe(_ socket: DemoSocket) throws -> Observation {
    let before = try daemon.status()
    Console.note("\(socket.name): starting \(Testpmd.program) as its front-end …")
    let frontEnd = try Testpmd.FrontEnd(socketPath: daemon.path(of: socket))
    let during = try daemon.status()
    Console.note("\(socket.name): sending and receiving for \(seconds) s …")
    let result = try frontEnd.loopbackRun(seconds: seconds)
    // It stops its rings first, so that nothing moves and nothing is uncounted any more.
    frontEnd.quit()
    let after = try daemon.status()
    Console.note("\(socket.name): \(result.txPackets) packets sent, \(result.rxPackets) received")

    guard let seen = during.sockets.first(where: { $0.name == socket.name }) else {
      throw DemoFailure("the daemon does not know a socket \(socket.name)")
    }
    let earlier = Dictionary(uniqueKeysWithValues: before.engines.map { ($0.id, $0.traffic) })
    return Observation(
      expected: socket, socket: seen,
      frontEnd: PacketCount(packetsIn: result.txPackets, packetsOut: result.rxPackets),
      packetsPerSecond: result.packetsPerSecond,
      engines: Dictionary(
        uniqueKeysWithValues: after.engines.map { ($0.id, $0.traffic.since(earlier[$0.id] ?? PacketCount())) }))
  }
}
