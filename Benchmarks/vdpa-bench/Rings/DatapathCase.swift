import Datapath
import Peers
import VDPA
import Virtio

/// What is counted of the datapath: turns of queue pairs with a port, all of which have packets.
struct DatapathCase: Sendable {
  var port: Port
  var format = RingLayout.Format.split
  var bytes = 64
  var pairs = 1
  /// Regions of guest memory, of which each packet is in another one than that before.
  var regions = 1
  /// Whether the guest takes one used entry for several buffers (`VIRTIO_F_IN_ORDER`).
  var isInOrder = false

  /// `loopback split 64 B, 64 pairs`
  var name: String {
    "\(port) \(format) \(bytes) B" + (pairs == 1 ? "" : ", \(pairs) pairs")
      + (regions == 1 ? "" : ", \(regions) regions")
      + (isInOrder ? ", in order" : "")
  }

  /// Descriptors a ring.
  private static let size = 256

  /// Serves so many packets in turns that callgrind counts, after as many as a ring holds that it does not.
  ///
  /// - Parameter laps: How often the rings are filled.
  /// - Returns: How many packets were counted.
  func count(laps: Int) throws -> Int {
    func ringCase(_ direction: RingCase.Direction) -> RingCase {
      RingCase(
        format: format, direction: direction, bytes: bytes, size: DatapathCase.size, regions: regions,
        isInOrder: isInOrder)
    }
    let ground = try RingGround((0..<pairs).flatMap { _ in [ringCase(.enqueue), ringCase(.dequeue)] })
    var features: Features = [.version1, .netMergeableBuffers, .indirectDescriptors]
    if format == .packed { features.insert(.packedRing) }
    if isInOrder { features.insert(.inOrder) }
    let turns = try PairTurns(
      port == .source ? .source(length: bytes) : try PortConfiguration(parsing: "\(port)"), features: features,
      memory: ground.memory, vrings: ground.rings.enumerated().map { $1.description(index: $0) })
    let busy = ground.rings.filter { ring in
      switch port {
      case .loopback: true
      case .sink: ring.ringCase.direction == .dequeue
      case .source: ring.ringCase.direction == .enqueue
      }
    }
    for lap in 0...laps {
      for ring in busy { ring.offer() }
      for _ in 0..<DatapathCase.size / PacketBurst.capacity {
        let moved = lap > 0 ? countedTurn(turns) : turns.turn()
        guard moved == pairs * PacketBurst.capacity else {
          throw PeerError(.invalidRun, "\(name): a turn moved \(moved) packets, not a burst of each queue")
        }
      }
      for ring in busy { try ring.collect() }
    }
    return laps * pairs * DatapathCase.size
  }
}

/// A turn of ``PairTurns`` that callgrind counts; it knows it by its name.
@inline(never) private func countedTurn(_ turns: PairTurns) -> Int { turns.turn() }
