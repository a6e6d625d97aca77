internal import Virtio

/// Gives every packet back on the same queue pair, in order.
struct LoopbackPort: NetPort {
  mutating func serve(_ receive: inout NetVring?, _ transmit: inout NetVring?, _ burst: PacketBurst) -> Int {
    guard receive?.isEnabled == true, let room = receive?.pending(), room > 0 else { return 0 }
    let taken = transmit?.dequeue(into: burst, limit: min(room, PacketBurst.capacity)) ?? 0
    guard taken > 0 else { return 0 }
    let given = receive?.enqueue(burst) ?? 0
    transmit?.complete(burst, count: given, taken: taken)
    return given
  }
}
