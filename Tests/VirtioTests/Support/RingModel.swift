@testable import Virtio

/// A plain model of the specification for one ring: what memory looks like after the device's steps. It works on a copy
/// of all memory and knows the chains from the test, not from the ring.
struct RingModel {
  private(set) var device: RawDevice
  /// The chains that the device has not returned, in the order announced.
  private(set) var chains: [RawChain]
  /// What it has returned.
  private(set) var returned: [(id: UInt16, length: Int)] = []

  /// - Parameters:
  ///   - position: That of the first of the chains.
  ///   - image: A copy of memory, which the model changes.
  init(_ ring: RawRing, at position: UInt16? = nil, chains: [RawChain], image: GuestBytes) {
    device = RawDevice(ring.on(image), at: position)
    self.chains = chains
  }

  var image: GuestBytes { device.ring.bytes }
  var size: Int { device.ring.size }

  /// The device returns a chain, the oldest one unless it says which.
  mutating func use(_ index: Int = 0, length: Int) {
    let chain = chains.remove(at: index)
    device.use(chain, length: UInt32(length))
    returned.append((chain.id, length))
  }

  /// The device returns its oldest chains, which it has only read.
  ///
  /// - Parameter isInOrder: Whether the last one stands for all of them (virtio 1.2, §2.7.9).
  mutating func useRead(_ count: Int, isInOrder: Bool) {
    guard isInOrder, count > 0 else {
      for _ in 0..<count { use(length: 0) }
      return
    }
    let batch = chains.prefix(count)
    device.use(id: batch[count - 1].id, length: 0, steps: batch.reduce(0) { $0 + device.ring.steps($1) })
    returned += batch.map { ($0.id, 0) }
    chains.removeFirst(count)
  }

  /// What the device reads from a chain.
  func packet(_ chain: Int) -> [UInt8] {
    chains[chain].pieces.filter { !$0.isWritable }.flatMap { image.read($0.address, Int($0.length)) }
  }

  /// The device sends a packet (virtio 1.2, §5.1.6.4): to the oldest chain, to as many as it takes if they may be
  /// merged.
  ///
  /// - Returns: What becomes of it; `pending` when it has to wait for more buffers.
  mutating func send(_ payload: [UInt8], headerLength: Int, mergeable: Bool) -> PacketBurst.Outcome {
    let total = headerLength + payload.count
    guard let first = chains.first else { return .pending }
    if !mergeable && first.writable < total { return .undeliverable }
    var buffers = 0
    var room = 0
    while room < total {
      guard buffers < chains.count else {
        // More descriptors than the ring has do not come.
        return chains.reduce(0, { $0 + $1.descriptors }) == size ? .undeliverable : .pending
      }
      room += chains[buffers].writable
      buffers += 1
    }
    var packet =
      [UInt8](repeating: 0, count: 10) + (headerLength == 12 ? littleEndian(UInt16(buffers)) : []) + payload
    for _ in 0..<buffers {
      var length = 0
      for piece in chains[0].pieces {
        let count = min(Int(piece.length), packet.count)
        image.write(piece.address, Array(packet.prefix(count)))
        packet.removeFirst(count)
        length += count
      }
      use(length: length)
    }
    return .delivered
  }
}
