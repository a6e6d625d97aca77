import CRingLoop
import Peers
import VDPA
import Virtio

/// What a case plays on: guest memory with a ring, its buffers, and a driver that offers them.
///
/// Whoever is measured sees the same mapping of the same memory, and a ring at its start.
@safe final class RingGround {
  let ringCase: RingCase
  let memory: GuestMemory
  /// The ring for the Swift code.
  let ringMemory: RingMemory
  /// The memory for the C code; as many as there are regions.
  let regions: UnsafeMutableBufferPointer<cring_region>
  private let parts:
    (descriptors: UnsafeMutableRawPointer, avail: UnsafeMutableRawPointer, used: UnsafeMutableRawPointer)
  /// The guest's buffers, in the order in which they are offered.
  private let places: UnsafeMutableBufferPointer<cring_place>
  private var driver = unsafe cring_driver()

  init(_ ringCase: RingCase) throws {
    self.ringCase = ringCase
    let layout = try RingLayout(ringCase.format, size: ringCase.size)
    let length = RingCase.headerLength + ringCase.bytes
    // As long as the packet that is taken; room for what a driver's buffers have room for to give one.
    let bufferLength = ringCase.direction == .dequeue ? length : max(length, 2060)
    // An odd number of cache lines, so that buffers do not compete for one set of a cache.
    let stride = ((bufferLength + 63) / 64 | 1) * 64
    let avail = (layout.descriptorBytes + 63) & ~63
    let used = (avail + layout.availBytes + 63) & ~63
    let first = (used + layout.usedBytes + 63) & ~63
    let perRegion = (ringCase.size + ringCase.regions - 1) / ringCase.regions
    let regionBytes = (first + perRegion * stride + 4095) & ~4095
    let file = try MemoryFile.make("rings", size: regionBytes * ringCase.regions)
    let all = try (0..<ringCase.regions).map { i in
      // With a gap between any two, so that no two are one.
      let address = UInt64(0x10000 + i * (regionBytes + 0x10000))
      return try MemoryRegion(
        guestAddress: address, size: UInt64(regionBytes), userAddress: address, fileOffset: UInt64(i * regionBytes))
    }
    memory = try GuestMemory.table(all.map { ($0, file.descriptor) })
    var view = memory.addressMap.view

    unsafe regions = .allocate(capacity: all.count)
    for (i, region) in all.enumerated() {
      let host = unsafe view.contiguous(at: region.guestAddress, length: regionBytes, for: .readWrite)
      unsafe regions[i] = cring_region(
        start: region.guestAddress, end: region.guestEnd, host: host?.assumingMemoryBound(to: UInt8.self),
        access: UInt32(CRING_READ | CRING_WRITE))
    }
    // Each region once before any comes again, in no order that can be foreseen.
    var generator = SplitMix64(seed: 1)
    let order = all.indices.shuffled(using: &generator)
    unsafe places = .allocate(capacity: ringCase.size)
    for i in 0..<ringCase.size {
      let region = all[order[i % order.count]]
      unsafe places[i] = cring_place(
        address: region.guestAddress + UInt64(first + i / order.count * stride), length: UInt32(bufferLength))
    }
    let ring = all[0].guestAddress
    ringMemory = try RingMemory(
      layout, descriptor: ring, avail: ring + UInt64(avail), used: ring + UInt64(used), memory: view)
    guard let base = unsafe view.contiguous(at: ring, length: first, for: .readWrite) else {
      throw PeerError(.invalidRun, "the ring is not in memory")
    }
    unsafe parts = (base, base + avail, base + used)
    restart()
  }

  deinit {
    unsafe regions.deallocate()
    unsafe places.deallocate()
  }

  var isPacked: Bool { ringCase.format == .packed }

  /// Has the driver begin anew, on a ring without chains.
  func restart() {
    unsafe cring_driver_init(
      &driver, UInt32(ringCase.size), isPacked, ringCase.direction == .enqueue, parts.descriptors, parts.avail,
      parts.used, places.baseAddress)
  }

  /// A device in C at the ring's start.
  func cRing() -> cring {
    var ring = unsafe cring()
    unsafe cring_init(&ring, UInt32(ringCase.size), isPacked, parts.descriptors, parts.avail, parts.used)
    return unsafe ring
  }

  /// Offers all buffers.
  func offer() { unsafe cring_driver_offer(&driver, UInt32(ringCase.size)) }

  /// Takes all buffers back.
  ///
  /// - Throws: ``PeerError``, when the device has not done with each of them what it should.
  func collect() throws {
    let written = ringCase.direction == .enqueue ? RingCase.headerLength + ringCase.bytes : 0
    guard unsafe cring_driver_collect(&driver, UInt32(ringCase.size), UInt32(written)) else {
      throw PeerError(.invalidRun, "\(ringCase.name): the buffers did not come back as they should")
    }
  }

  /// Lends out what a buffer of the guest holds of a packet: header and payload.
  func withBuffer<R>(_ index: Int, _ body: (inout MutableSpan<UInt8>) -> R) -> R? {
    var view = memory.addressMap.view
    let length = RingCase.headerLength + ringCase.bytes
    guard let host = unsafe view.contiguous(at: places[index].address, length: length, for: .readWrite) else {
      return nil
    }
    let bytes = unsafe UnsafeMutableBufferPointer(start: host.assumingMemoryBound(to: UInt8.self), count: length)
    var span = unsafe bytes.mutableSpan
    return body(&span)
  }

  /// What byte `i` of the payload of a packet is, so that no two packets in a ring are alike.
  static func byte(_ i: Int, of packet: Int) -> UInt8 { UInt8(truncatingIfNeeded: i &+ packet &* 37 &+ packet >> 8) }
}
