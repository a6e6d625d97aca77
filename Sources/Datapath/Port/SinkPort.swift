internal import Virtio

/// Counts what the guest sends, and drops it.
struct SinkPort: NetPort {
  mutating func serve(_ pair: inout NetPair.Rings, _ burst: PacketBurst) -> Int {
    guard let taken = pair.transmit?.dequeue(into: burst, limit: PacketBurst.capacity), taken > 0 else { return 0 }
    pair.transmit?.complete(burst, count: taken, taken: taken)
    return taken
  }
}
