internal import Virtio

/// Counts what the guest sends, and drops it.
struct SinkPort: NetPort {
  var isQuiet: Bool { true }

  mutating func serve(_ receive: inout NetVring?, _ transmit: inout NetVring?, _ burst: PacketBurst) -> Int {
    guard let taken = transmit?.dequeue(into: burst, limit: PacketBurst.capacity), taken > 0 else { return 0 }
    transmit?.complete(burst, count: taken, taken: taken)
    return taken
  }
}
