internal import VDPA

/// A queue pair that the application serves: its two queues, and to whom they belong at the time.
final class ApplicationPair: NetPairServer {
  let receive: OwnedVring
  let transmit: OwnedVring
  let queues: NetQueuePair
  private let name: String
  private let claim: PairClaim

  init(name: String, index: Int) throws(DatapathError) {
    self.name = "\(name) queue pair \(index)"
    receive = OwnedVring(name: "\(name) vring \(2 * index)")
    transmit = OwnedVring(name: "\(name) vring \(2 * index + 1)")
    claim = PairClaim()
    queues = NetQueuePair(
      receive: try NetQueue(index: 2 * index, direction: .receive, vring: receive, claim: claim),
      transmit: try NetQueue(index: 2 * index + 1, direction: .transmit, vring: transmit, claim: claim))
  }

  func begin(for owner: String) throws {
    if let other = claim.take(for: owner) {
      throw DatapathError(
        .inUse, "\(name) is served for \(other) already; give \(owner) an application port of its own")
    }
  }

  func end() {
    claim.leave()
    queues.transmit.forgetAnnouncement()
    queues.receive.changed()
    queues.transmit.changed()
  }

  func watch(_ kick: OwnedFD, isTransmit: Bool) throws { try queue(isTransmit).watch(kick) }

  func unwatch(_ kick: OwnedFD, isTransmit: Bool) { queue(isTransmit).unwatch(kick) }

  func announce(_ frame: [UInt8]) { queues.transmit.announce(frame) }

  func changed(isTransmit: Bool) { queue(isTransmit).changed() }

  private func queue(_ isTransmit: Bool) -> NetQueue { isTransmit ? queues.transmit : queues.receive }
}
