internal import Virtio

/// Packets on their way to the guest, with the buffers that they will be in.
final class NetBatch {
  /// The packets: its own, or those that a source sends again and again.
  var packets: PacketBurst
  /// The buffers of all of them, in the order in which they are used.
  var buffers: [HeldChain] = []
  /// How many buffers each packet has; 0 for one that goes nowhere.
  var counts: [Int] = []
  /// How many packets there are that fit into no buffers of this guest.
  var undeliverable = 0

  init(_ packets: PacketBurst) { self.packets = packets }

  func clear() {
    buffers.removeAll(keepingCapacity: true)
    counts.removeAll(keepingCapacity: true)
    undeliverable = 0
  }

  /// Has packets use each other's buffers. Only such as are of one size change places, so that all of them still fit.
  func shuffle(by random: inout SeededRandom) {
    guard buffers.count > 1 else { return }
    for i in (1..<buffers.count).reversed() {
      let other = Int.random(in: 0...i, using: &random)
      if buffers[i].writable == buffers[other].writable { buffers.swapAt(i, other) }
    }
  }
}
