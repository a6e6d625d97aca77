import CRingLoop
import Peers
import VDPA
import Virtio

/// A ring in guest memory, with a driver that offers the same buffers again and again, in order.
@safe final class GuestRing {
  /// What a ring needs.
  struct Plan {
    let ringCase: RingCase
    let layout: RingLayout
    /// Where the parts begin behind the first one, and what all of them take.
    let avail: Int
    let used: Int
    let partsBytes: Int
    let bufferLength: Int
    /// From one buffer to the next: an odd number of cache lines, so that buffers do not compete for one set of a cache.
    let stride: Int

    init(_ ringCase: RingCase) throws {
      self.ringCase = ringCase
      layout = try RingLayout(ringCase.format, size: ringCase.size)
      avail = (layout.descriptorBytes + 63) & ~63
      used = (avail + layout.availBytes + 63) & ~63
      partsBytes = (used + layout.usedBytes + 63) & ~63
      // As long as the packet that is taken; to give one, as long as a driver makes them.
      let length = RingCase.headerLength + ringCase.bytes
      bufferLength = ringCase.direction == .dequeue ? length : max(length, 2060)
      stride = ((bufferLength + 63) / 64 | 1) * 64
    }
  }

  let plan: Plan
  /// The ring for the Swift code.
  let ringMemory: RingMemory
  private let address: UInt64
  private let memory: GuestMemory
  private let parts:
    (descriptors: UnsafeMutableRawPointer, avail: UnsafeMutableRawPointer, used: UnsafeMutableRawPointer)
  private let places: UnsafeMutableBufferPointer<cring_place>
  private var driver = unsafe cring_driver()

  var ringCase: RingCase { plan.ringCase }
  private var isPacked: Bool { ringCase.format == .packed }

  /// - Parameters:
  ///   - address: Where its parts are for the guest.
  ///   - buffers: Where its buffers are, in the order in which they are offered.
  init(_ plan: Plan, parts address: UInt64, buffers: [UInt64], memory: GuestMemory) throws {
    var view = memory.addressMap.view
    guard let base = unsafe view.contiguous(at: address, length: plan.partsBytes, for: .readWrite) else {
      throw PeerError(.invalidRun, "the ring is not in memory")
    }
    self.plan = plan
    self.memory = memory
    self.address = address
    unsafe parts = (base, base + plan.avail, base + plan.used)
    ringMemory = try RingMemory(
      plan.layout, descriptor: address, avail: address + UInt64(plan.avail), used: address + UInt64(plan.used),
      memory: view)
    unsafe places = .allocate(capacity: buffers.count)
    for (i, address) in buffers.enumerated() {
      unsafe places[i] = cring_place(address: address, length: UInt32(plan.bufferLength))
    }
    restart()
  }

  deinit {
    unsafe places.deallocate()
  }

  /// Has the driver begin anew, on a ring without chains.
  func restart() {
    unsafe cring_driver_init(
      &driver, UInt32(ringCase.size), isPacked, ringCase.direction == .enqueue, parts.descriptors, parts.avail,
      parts.used, places.baseAddress)
    unsafe driver.is_in_order = ringCase.isInOrder
  }

  /// A device in C at the ring's start.
  func cRing() -> cring {
    var ring = unsafe cring()
    unsafe cring_init(&ring, UInt32(ringCase.size), isPacked, parts.descriptors, parts.avail, parts.used)
    return unsafe ring
  }

  /// The ring at its start, as a front-end describes it.
  func description(index: Int) -> VringDescription {
    let start = ringMemory.start
    return VringDescription(
      index: index, size: ringCase.size, descriptor: address, avail: address + UInt64(plan.avail),
      used: address + UInt64(plan.used), state: VringState(index: index, nextAvail: start, nextUsed: start))
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
