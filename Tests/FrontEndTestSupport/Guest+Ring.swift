package import VDPA
package import VhostUser
package import Virtio

extension Guest {
  /// Where the parts of a ring lie behind its start, in bytes. A ring of 64 descriptors has 64 KiB.
  package struct Places {
    /// Descriptors.
    let size: Int
    /// The descriptor area is at 0.
    package let avail: UInt64
    package let used: UInt64
    /// One indirect table for each descriptor.
    package let tables: UInt64
    package let buffers: UInt64
    /// From one ring to the next.
    package let stride: UInt64

    static let tableLength = 8
    static let bufferCount: UInt64 = 16

    init(_ layout: RingLayout) {
      func next(_ place: UInt64, _ bytes: Int, atLeast least: UInt64) -> UInt64 {
        max(least, (place + UInt64(bytes) + 4095) & ~4095)
      }
      size = layout.size
      avail = next(0, layout.descriptorBytes, atLeast: 0x2000)
      used = next(avail, layout.availBytes, atLeast: 0x4000)
      tables = next(used, layout.usedBytes, atLeast: 0x5000)
      let tableBytes = IndirectTables.bytes(count: layout.size, length: Places.tableLength)
      buffers = next(tables, tableBytes, atLeast: 0x8000)
      stride = (buffers + Places.bufferCount * UInt64(Guest.bufferLength) + 0xffff) & ~0xffff
    }
  }

  /// One ring with its eventfds.
  package final class Ring {
    package let index: Int
    package let base: UInt64
    package let places: Places
    /// What the driver kicks; a front-end may exchange it.
    package var kick: OwnedFD
    package let call: OwnedFD
    package let error: OwnedFD
    package let memory: RingMemory
    package var driver: DriverRing
    /// The buffers that are with the device, by head.
    package var buffers: [UInt16: UInt64] = [:]
    private var free: [UInt64] = []
    private let tables: IndirectTables
    /// The position at which it started.
    package let start: UInt16

    init(
      _ index: Int, _ places: Places, in memory: GuestMemory, features: Features, startingAt start: UInt16?
    ) throws {
      self.index = index
      self.places = places
      base = Guest.guestBase + UInt64(index) * places.stride
      kick = try EventFD.make()
      call = try EventFD.make()
      error = try EventFD.make()
      let view = memory.addressMap.view
      let layout = try RingLayout(.init(for: features), size: places.size)
      self.memory = try RingMemory(
        layout, descriptor: base, avail: base + places.avail, used: base + places.used, memory: view)
      tables = try IndirectTables(
        count: layout.size, length: Places.tableLength, at: base + places.tables, memory: view)
      self.start = start ?? self.memory.start
      driver = DriverRing(self.memory, features: features, tables: tables, startingAt: self.start)
      renew(features: features)
    }

    func renew(features: Features) {
      driver = DriverRing(memory, features: features, tables: tables, startingAt: start)
      buffers = [:]
      free = (0..<Places.bufferCount).map { firstBuffer + $0 * UInt64(Guest.bufferLength) }
    }

    func takeBuffer() -> UInt64? { free.popLast() }
    /// Takes one back, if it is of its own.
    func returnBuffer(_ buffer: UInt64) {
      if (firstBuffer..<base + places.stride).contains(buffer) { free.append(buffer) }
    }

    /// Where its buffers lie.
    package var firstBuffer: UInt64 { base + places.buffers }

    /// SET_VRING_ADDR.
    package var addresses: VringAddressPayload {
      let user = Guest.userBase + (base - Guest.guestBase)
      return VringAddressPayload(
        index: UInt32(index), descriptor: user, used: user + places.used, available: user + places.avail)
    }

    /// What SET_VRING_BASE and GET_VRING_BASE say when so many descriptors were made available and used, a chain each.
    package func position(after descriptors: Int) -> UInt32 {
      switch memory {
      case .split: return UInt32(start &+ UInt16(truncatingIfNeeded: descriptors))
      case .packed(let area):
        let (laps, rest) = descriptors.quotientAndRemainder(dividingBy: area.size)
        let position = UInt32(area.advance(start, by: rest) ^ (laps % 2 == 1 ? PackedRingArea.wrapCounter : 0))
        return position | position << 16
      }
    }

    // MARK: What no driver writes

    /// Makes a chain available that is written as it is, in an empty ring: split, the descriptors from 0 on; packed, those
    /// from where the ring starts.
    package func makeAvailable(_ chain: [RingDescriptor]) {
      switch memory {
      case .split(let area):
        for (i, descriptor) in chain.enumerated() { area.setDescriptor(i, descriptor) }
        area.setHead(at: start, 0)
        area.publishAvailIndex(start &+ 1)
      case .packed(let area):
        for (i, descriptor) in chain.enumerated().reversed() {
          area.setAvailable(area.advance(start, by: i), descriptor, isFirst: false)
        }
      }
    }

    /// Makes a buffer available that is not in memory, so that the device has to find the ring broken.
    package func corrupt() {
      guard driver.add([.init(address: 0, length: 64, isWritable: index % 2 == 0)]) != nil else { return }
      _ = driver.publish()
    }
  }
}
