internal import VDPA
internal import Virtio

/// What a device does that takes no time, keeps the order and has nothing wrong with it: whole bursts go from ring to ring,
/// and nothing is ever in flight.
extension NetPair {
  /// Gives packets back on the pair they came on, in order. What does not find its buffers now stays where it is.
  func loopBackAtOnce() -> Bool {
    let (packets, headerLength, view) = (server.burst, server.headerLength, server.view)
    let room = receive.ring.pending()
    guard room > 0 else { return false }
    packets.clear()
    let taken = transmit.ring.dequeueBurst(into: packets, limit: room, memory: view, headerLength: headerLength)
    guard taken > 0 else { return false }
    let usedBefore = receive.ring.nextUsed
    packets.clearHeaders(length: headerLength)
    let done = receive.ring.enqueueBurst(
      from: packets, first: 0, memory: view, headerLength: headerLength, mergeable: server.isMergeable)
    transmit.ring.complete(packets, first: 0, count: done)
    transmit.ring.giveBack(packets, first: done)
    transmit.statistics.add(packets.tallyTaken(first: 0, count: done))
    receive.statistics.add(packets.tallyGiven(count: done))
    if receive.ring.nextUsed != usedBefore { receive.call() }
    if done > 0 { transmit.call() }
    return done > 0
  }
}
