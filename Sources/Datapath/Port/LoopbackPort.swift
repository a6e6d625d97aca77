internal import Virtio

/// Gives every packet back on the same queue pair, in order.
struct LoopbackPort: NetPort {
  /// For packets that a guest sends in one piece and takes in several.
  private let segments = PacketBurst()

  var isQuiet: Bool { true }

  mutating func serve(_ receive: inout NetVring?, _ transmit: inout NetVring?, _ burst: PacketBurst) -> Int {
    // What the guest has sent is looked at first: an idle pair costs one look.
    guard transmit?.hasPending() == true, receive?.isEnabled == true, let room = receive?.room(), room > 0 else {
      return 0
    }
    let taken = transmit?.dequeue(into: burst, limit: room) ?? 0
    guard taken > 0, let progress = transmit?.forward(burst, to: &receive, through: segments) else { return 0 }
    transmit?.complete(burst, count: progress.finished, taken: taken)
    // A large packet may have been delivered in part.
    return max(progress.finished, progress.delivered)
  }
}
