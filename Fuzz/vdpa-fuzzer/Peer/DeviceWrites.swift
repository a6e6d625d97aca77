internal import Virtio

/// What a device writes, right and wrong: the peer of the driver's side of a ring, split or packed.
struct DeviceWrites {
  /// What a record of the device's stands for. Other numbers stand for one of these, too.
  enum Kind: UInt8, CaseIterable {
    /// The `a`-th of the chains that are with the device, or id `a` when there is none, is returned with a length; with a
    /// `b` the packed ring's position moves by so many descriptors instead of the chain's.
    case giveBack
    /// Split: the used entry `a` behind the first position becomes the sixteen bits of `e`, shifted by `b` bits. Packed:
    /// descriptor `a` becomes a used one with id `e`, of the lap that `b` says.
    case entry
    /// Split: the used index becomes `d` more than the ring's first position. Packed: `d` descriptors are skipped.
    case usedIndex
    /// The device's wish to be kicked: flags `a`, position `d`.
    case event
    /// Sixteen bits `e` at `d` in part `a` of the ring.
    case ringWord
    /// `a` and one ids from `b` on, `c` apart, are returned with a length.
    case giveBackMany
  }

  /// A chain that is with the device.
  struct Chain {
    var id: UInt16
    var descriptors: Int
  }

  private let ring: RingPlacement
  private let memory: FuzzMemory
  private var returned: UInt16
  /// What is with the device.
  var outstanding: [Chain] = []

  /// A device that has nothing yet.
  init(_ ring: RingPlacement, in memory: FuzzMemory) {
    self.ring = ring
    self.memory = memory
    returned = ring.first
  }

  private mutating func giveBack(_ id: UInt32, length: UInt32, descriptors: Int, _ list: StoreList) {
    if ring.format == .split {
      let at = ring.usedEntry(returned)
      list.add(id, to: at, in: memory)
      list.add(length, to: at &+ 4, in: memory)
      returned &+= 1
      list.add(returned, to: ring.usedIndex, in: memory)
    } else {
      use(ring.index(returned), id, length, RingPlacement.usedFlags(returned), list)
      returned = ring.advance(returned, by: descriptors)
    }
  }

  private func use(_ index: Int, _ id: UInt32, _ length: UInt32, _ flags: UInt16, _ list: StoreList) {
    let at = ring.descriptor(index) &+ 8
    let word = UInt64(length) | UInt64(id & 0xffff) << 32 | UInt64(flags | (length > 0 ? 2 : 0)) << 48
    list.add(word, to: at, in: memory)
  }

  mutating func write(_ r: Record, to list: StoreList) {
    guard ring.size > 0 else { return }
    switch Kind(rawValue: (r.kind & 0x7f) % UInt8(Kind.allCases.count)) ?? .giveBack {
    case .giveBack:
      let chain =
        outstanding.isEmpty ? Chain(id: UInt16(r.a), descriptors: 1) : outstanding[Int(r.a) % outstanding.count]
      let descriptors = r.b == 0 ? chain.descriptors : Int(r.b) % ring.size
      giveBack(UInt32(chain.id), length: r.length, descriptors: descriptors, list)
    case .entry:
      if ring.format == .split {
        let at = ring.usedEntry(ring.first &+ UInt16(r.a))
        list.add(UInt32(r.e) &<< UInt32(r.b), to: at, in: memory)
        list.add(r.length, to: at &+ 4, in: memory)
      } else {
        let flags = RingPlacement.usedFlags(r.b & 1 == 0 ? returned : returned ^ 0x8000)
        use(Int(r.a) % ring.size, UInt32(r.e), r.length, flags, list)
      }
    case .usedIndex:
      if ring.format == .split {
        list.add(ring.first &+ r.d, to: ring.usedIndex, in: memory)
      } else {
        returned = ring.advance(returned, by: Int(r.d) % ring.size)
      }
    case .event:
      if ring.format == .split {
        list.add(UInt16(r.a), to: ring.usedFlags, in: memory)
        list.add(r.d, to: ring.availEvent, in: memory)
      } else {
        list.add(UInt32(r.d) | UInt32(r.a) << 16, to: ring.deviceEvent, in: memory)
      }
    case .ringWord:
      let part = Int(r.a) % 3
      list.add(r.e, to: ring.parts[part] &+ UInt64(Int(r.d) % ring.lengths[part]), in: memory)
    case .giveBackMany:
      for i in 0...UInt32(r.a) {
        let id = (UInt32(r.b) &+ i &* UInt32(r.c)) % UInt32(ring.size)
        giveBack(id, length: r.length, descriptors: 1, list)
      }
    }
  }
}
