package import Virtio

/// Connects, sends packets on each pair to a back-end that gives them back, and leaves, as any front-end does.
///
/// - Parameters:
///   - features: What the guest's driver accepts beyond mergeable buffers and the ring's format.
///   - packets: How many on each pair.
/// - Throws: When the back-end does not serve it, or another packet comes back.
package func behaveWell(
  at path: String, queues: Int = 1, format: RingLayout.Format = .split, features: Features = [], packets: Int = 1
) throws {
  let guest = try Guest(queues: queues, format: format, features: features)
  let frontEnd = try RawFrontEnd(path: path)
  try guest.run(with: frontEnd)
  for i in 0..<packets {
    for pair in 0..<queues {
      let packet = (0..<100).map { UInt8(truncatingIfNeeded: $0 + i + pair) }
      let isIndirect = features.contains(.indirectDescriptors) && i % 2 == 1
      let returned = try guest.exchange(packet, pair: pair, isIndirect: isIndirect)
      try require(returned == packet, "\(returned) came back for \(packet)")
    }
  }
  frontEnd.hangUp()
}
