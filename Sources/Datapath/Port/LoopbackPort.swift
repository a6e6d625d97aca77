internal import Virtio

/// Gives every packet back on the same queue pair, in order.
struct LoopbackPort: NetPort {
  mutating func serve(_ pair: inout NetPair.Rings, _ burst: PacketBurst) -> Int {
    guard pair.receive?.isEnabled == true, let room = pair.receive?.pending(), room > 0 else { return 0 }
    let taken = pair.transmit?.dequeue(into: burst, limit: min(room, PacketBurst.capacity)) ?? 0
    guard taken > 0 else { return 0 }
    let given = pair.receive?.enqueue(burst) ?? 0
    pair.transmit?.complete(burst, count: given, taken: taken)
    return given
  }
}
