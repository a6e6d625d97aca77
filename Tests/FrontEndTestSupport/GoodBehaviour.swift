import VDPA
import VhostUser
package import Virtio

/// Connects, sends packets on each pair to a back-end that gives them back, and leaves, as any front-end does.
///
/// - Parameters:
///   - features: What the guest's driver accepts beyond mergeable buffers and the ring's format.
///   - packets: How many on each pair.
/// - Throws: When the back-end does not serve it, or anything is wrong with a packet.
package func behaveWell(
  at path: String, queues: Int = 1, format: RingLayout.Format = .split, features: Features = [], packets: Int = 1
) throws {
  var accepted = features.union([.version1, .netMergeableBuffers])
  if format == .packed { accepted.insert(.packedRing) }
  let frontend = Frontend(try FrontendConnection(path: path))
  try frontend.negotiate(required: accepted)
  let guest = try FrontendGuest(
    features: accepted, vringCount: 2 * queues, ringSize: 64,
    bufferBytes: NumberedTraffic.bufferBytes(ringSize: 64, pairs: queues))
  let traffic = try NumberedTraffic(guest)
  try guest.start(over: frontend)
  try require(try traffic.run(UInt64(packets)), "not all packets have come back: \(traffic.reports)")
  try require(traffic.reports.allSatisfy(\.isClean), "packets have come back wrong: \(traffic.reports)")
  frontend.connection.close()
}
