internal import Virtio

/// What a device writes, right and wrong: the peer of the driver's side of a ring.
struct DeviceWrites: PeerWrites {
  /// What a record of the device's stands for. Other numbers stand for one of these, too.
  enum Kind: UInt8 {
    /// The `a`-th of the chains that are with the device, or head `a` when there is none, is returned with a length.
    case giveBack
    /// The used entry `a` behind the first position becomes the sixteen bits of `e`, shifted by `b` bits.
    case entry
    /// The used index becomes `d` more than the ring's first position.
    case usedIndex
    /// The flags of the used ring become `a`, its event index `d`.
    case flags
    /// Sixteen bits `e` at `d` in part `a` of the ring.
    case ringWord
    /// `a` and one heads from `b` on, `c` apart, are returned with a length.
    case giveBackMany
  }

  private let ring: RingPlacement
  private let memory: FuzzMemory
  private var returned: UInt16 = 0
  /// The heads that are with the device.
  var outstanding: [UInt16] = []

  /// A device that has nothing yet.
  init(_ ring: RingPlacement, in memory: FuzzMemory) {
    self.ring = ring
    self.memory = memory
  }

  private mutating func giveBack(_ head: UInt32, length: UInt32, _ list: StoreList) {
    let at = ring.usedEntry(returned)
    list.add(head, to: at, in: memory)
    list.add(length, to: at &+ 4, in: memory)
    returned &+= 1
    list.add(returned, to: ring.usedIndex, in: memory)
  }

  mutating func write(_ r: Record, to list: StoreList) {
    guard ring.size > 0 else { return }
    switch Kind(rawValue: (r.kind & 0x7f) % 6) ?? .giveBack {
    case .giveBack:
      let head = outstanding.isEmpty ? UInt16(r.a) : outstanding[Int(r.a) % outstanding.count]
      giveBack(UInt32(head), length: r.length, list)
    case .entry:
      let at = ring.usedEntry(UInt16(r.a))
      list.add(UInt32(r.e) &<< UInt32(r.b), to: at, in: memory)
      list.add(r.length, to: at &+ 4, in: memory)
    case .usedIndex:
      list.add(r.d, to: ring.usedIndex, in: memory)
    case .flags:
      list.add(UInt16(r.a), to: ring.usedFlags, in: memory)
      list.add(r.d, to: ring.availEvent, in: memory)
    case .ringWord:
      let part = Int(r.a) % 3
      list.add(r.e, to: ring.parts[part] &+ UInt64(Int(r.d) % ring.lengths[part]), in: memory)
    case .giveBackMany:
      for i in 0...UInt32(r.a) {
        giveBack((UInt32(r.b) &+ i &* UInt32(r.c)) % UInt32(ring.size), length: r.length, list)
      }
    }
  }
}
