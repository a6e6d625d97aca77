import CRingLoop
import Peers
import VDPA
import Virtio

/// What is played on: guest memory with rings, their buffers, and drivers that offer them.
///
/// Whoever is measured sees the same mapping of the same memory, and rings at their start.
@safe final class RingGround {
  let memory: GuestMemory
  let rings: [GuestRing]
  /// The memory for the C code.
  let regions: UnsafeMutableBufferPointer<cring_region>

  /// - Parameter cases: What each ring is like. The first one says how many regions of memory there are.
  init(_ cases: [RingCase]) throws {
    let plans = try cases.map { try GuestRing.Plan($0) }
    let partsBytes = plans.reduce(0) { $0 + $1.partsBytes }
    let stride = plans.map(\.stride).max() ?? 0
    let count = cases.first?.regions ?? 1
    let buffers = cases.reduce(0) { $0 + $1.size }
    let regionBytes = (partsBytes + (buffers + count - 1) / count * stride + 4095) & ~4095
    let file = try MemoryFile.make("rings", size: regionBytes * count)
    let all = try (0..<count).map { i in
      // With a gap between any two, so that no two are one.
      let address = UInt64(0x10000 + i * (regionBytes + 0x10000))
      return try MemoryRegion(
        guestAddress: address, size: UInt64(regionBytes), userAddress: address, fileOffset: UInt64(i * regionBytes))
    }
    memory = try GuestMemory.table(all.map { ($0, file.descriptor) })
    var view = memory.addressMap.view
    unsafe regions = .allocate(capacity: count)
    for (i, region) in all.enumerated() {
      let host = unsafe view.contiguous(at: region.guestAddress, length: regionBytes, for: .readWrite)
      unsafe regions[i] = cring_region(
        start: region.guestAddress, end: region.guestEnd, host: host?.assumingMemoryBound(to: UInt8.self),
        access: UInt32(CRING_READ | CRING_WRITE))
    }
    // Each region once before any comes again, in no order that can be foreseen.
    var generator = SplitMix64(seed: 1)
    let order = all.indices.shuffled(using: &generator)
    var rings: [GuestRing] = []
    var parts = all[0].guestAddress
    var buffer = 0
    for plan in plans {
      let addresses = (buffer..<buffer + plan.ringCase.size).map { i in
        all[order[i % count]].guestAddress + UInt64(partsBytes + i / count * stride)
      }
      rings.append(try GuestRing(plan, parts: parts, buffers: addresses, memory: memory))
      parts += UInt64(plan.partsBytes)
      buffer += plan.ringCase.size
    }
    self.rings = rings
  }

  deinit {
    unsafe regions.deallocate()
  }
}
