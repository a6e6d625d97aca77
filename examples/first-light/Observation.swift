/// What was seen of one socket: how it stood while its front-end was connected, what the front-end counted, and what
/// each engine counted in that time.
struct Observation {
  let expected: DemoSocket
  /// The socket as the daemon described it with the front-end connected.
  let socket: DaemonStatus.Socket
  /// The front-end's own counters: sent is in, received is out.
  let frontEnd: PacketCount
  let packetsPerSecond: Double
  /// What each engine carried meanwhile, by engine id.
  let engines: [Int: PacketCount]

  /// Packets that were taken and not given back; negative when more came back than left.
  var lost: Int64 { Int64(frontEnd.packetsIn) - Int64(frontEnd.packetsOut) }

  /// What is wrong with it, in a sentence; nil when all is as it has to be.
  var failure: DemoFailure? {
    let name = expected.name
    guard socket.ready else {
      return DemoFailure("\(name) was not ready: \(socket.notReadyReason ?? "the daemon does not say why")")
    }
    guard (socket.engine, socket.device, socket.datapath) == (expected.engine, expected.device, expected.datapath)
    else {
      return DemoFailure(
        "\(name) was served by (\(socket.engine), \(socket.device)) \(socket.datapath) instead of "
          + "(\(expected.engine), \(expected.device)) \(expected.datapath)")
    }
    guard frontEnd.packetsIn > 0 else { return DemoFailure("no packet went through \(name)") }
    guard lost == 0 else {
      return DemoFailure(
        lost > 0
          ? "\(lost) of \(frontEnd.packetsIn) packets were lost on \(name)"
          : "\(-lost) packets more came back on \(name) than were sent")
    }
    let carried = engines[expected.engine] ?? PacketCount()
    guard carried == frontEnd else {
      return DemoFailure(
        "engine \(expected.engine) (\(expected.datapath)), which \(name) is bound to, counted "
          + "\(carried.packetsIn) packets in and \(carried.packetsOut) out, its front-end \(frontEnd.packetsIn) and "
          + "\(frontEnd.packetsOut)")
    }
    if let other = engines.first(where: { $0.key != expected.engine && $0.value != PacketCount() }) {
      return DemoFailure(
        "engine \(other.key) carried \(other.value.packetsIn) packets in and \(other.value.packetsOut) out while only "
          + "\(name) had traffic, which is not bound to it")
    }
    return nil
  }
}
