internal import CLinux

/// The device side of a split ring (virtio 1.2, §2.7), whole bursts at a time.
///
/// Everything in the ring and everything that its descriptors point to is written by the guest, at any time. A
/// descriptor is copied once, the copy is checked, and only the copy is used; chains are bounded by the ring's size and
/// bursts by ``PacketBurst``. Anything that no correct driver writes sets ``fault``.
///
/// A value of this type belongs to one thread at a time.
package struct SplitDeviceRing {
  /// The ring's memory. Replaced, at the same addresses, when guest memory changes.
  package var area: SplitRingArea
  /// The position of the next entry of the available ring to be fetched.
  package private(set) var nextAvail: UInt16
  /// The position of the next entry of the used ring to be written.
  package private(set) var nextUsed: UInt16
  /// Why the ring is broken.
  package private(set) var fault = RingFault.none

  /// A ring that goes on at a position.
  package init(area: SplitRingArea, nextAvail: UInt16, nextUsed: UInt16) {
    self.area = area
    self.nextAvail = nextAvail
    self.nextUsed = nextUsed
  }

  /// How many chains wait to be fetched; 0 for a broken ring. An index that cannot be right breaks the ring.
  @inline(__always) package mutating func pending() -> Int {
    guard fault == .none else { return 0 }
    let pending = area.availIndex &- nextAvail
    guard pending <= area.mask &+ 1 else {
      fault = .availableIndex
      return 0
    }
    return Int(pending)
  }

  // MARK: From the guest

  /// Copies packets out of the guest's buffers into `burst`, behind those that are there.
  ///
  /// Their chains stay with the device until ``complete(_:first:count:)`` or ``giveBack(_:)``.
  ///
  /// - Parameters:
  ///   - limit: The most packets to take.
  ///   - headerLength: A chain with less is a fault.
  /// - Returns: How many packets were taken.
  package mutating func dequeueBurst(
    into burst: PacketBurst, limit: Int, memory: MemoryView, headerLength: Int
  ) -> Int {
    let available = min(pending(), limit, PacketBurst.capacity - burst.count)
    guard available > 0 else { return 0 }
    precondition(headerLength >= 0 && headerLength <= PacketBurst.lead)
    let area = self.area
    var memory = memory
    var taken = 0
    var visits = 0
    while taken < available && visits < PacketBurst.maxVisits {
      guard let start = burst.place(headerLength: headerLength) else { break }
      var index = area.availHead(nextAvail)
      let head = index
      var length = 0
      var links = 0
      var isOversized = false
      var sawWritable = false
      while true {
        guard index <= area.mask else { return fail(.descriptorIndex, taken) }
        links &+= 1
        guard links <= area.size else { return fail(.chainLoop, taken) }
        let descriptor = area.descriptor(index)
        guard descriptor.flags & SplitRingArea.Descriptor.indirect == 0 else { return fail(.indirect, taken) }
        if descriptor.flags & SplitRingArea.Descriptor.write != 0 {
          sawWritable = true
        } else {
          guard !sawWritable else { return fail(.descriptorOrder, taken) }
          let bytes = Int(descriptor.length)
          if length &+ bytes > PacketBurst.maxLength {
            isOversized = true
          } else if bytes > 0 && !isOversized {
            guard unsafe memory.read(descriptor.address, length: bytes, to: burst.arena + start + length) else {
              return fail(.unmapped, taken)
            }
            length &+= bytes
          }
        }
        guard descriptor.flags & SplitRingArea.Descriptor.next != 0 else { break }
        index = descriptor.next
      }
      guard length >= headerLength || isOversized else { return fail(.shortBuffer, taken) }
      unsafe burst.slots[burst.count] = PacketBurst.Slot(
        start: start, length: isOversized ? 0 : length, head: head, outcome: isOversized ? .oversized : .pending)
      burst.count &+= 1
      burst.end = isOversized ? burst.end : (start &+ length &+ 63) & ~63
      nextAvail &+= 1
      taken &+= 1
      visits &+= links
    }
    return taken
  }

  /// Returns the chains of packets to the driver, all read, none written, and announces them. What was fetched
  /// before the ring was found broken is finished like everything else, or it would be lost to whoever goes on with it.
  ///
  /// - Parameters:
  ///   - first: The first packet of the burst to complete.
  ///   - count: How many.
  package mutating func complete(_ burst: PacketBurst, first: Int, count: Int) {
    precondition(first >= 0 && count >= 0 && first + count <= burst.count)
    guard count > 0 else { return }
    for i in first..<first &+ count {
      area.setUsed(nextUsed, head: unsafe burst.slots[i].head, length: 0)
      nextUsed &+= 1
    }
    area.publishUsedIndex(nextUsed)
  }

  /// Puts the last `count` chains that were fetched back, as if they had never been seen.
  package mutating func giveBack(_ count: Int) {
    nextAvail &-= UInt16(count)
  }

  private mutating func fail(_ reason: RingFault, _ taken: Int) -> Int {
    fault = reason
    return taken
  }

  // MARK: To the guest

  /// Writes packets into the guest's buffers, in order, and announces them.
  ///
  /// Each packet taken gets its outcome: delivered, or undeliverable if no number of this guest's buffers can hold it;
  /// one that was too long to be copied is passed over.
  /// The first packet for which the guest has not given enough buffers yet ends the burst.
  ///
  /// - Parameters:
  ///   - first: The first packet of the burst to send.
  ///   - mergeable: Whether a packet may fill several buffers (`VIRTIO_NET_F_MRG_RXBUF`).
  /// - Returns: How many packets were taken.
  package mutating func enqueueBurst(
    from burst: PacketBurst, first: Int, memory: MemoryView, headerLength: Int, mergeable: Bool
  ) -> Int {
    precondition(first >= 0 && headerLength >= 0 && headerLength <= PacketBurst.lead)
    var memory = memory
    var available = pending()
    var visits = 0
    let before = nextUsed
    var index = first
    while index < burst.count && visits < PacketBurst.maxVisits && fault == .none {
      guard unsafe burst.slots[index].outcome != .oversized else {
        index &+= 1
        continue
      }
      guard available > 0 else { break }
      switch scatter(
        burst, index, available: available, memory: &memory, headerLength: headerLength, mergeable: mergeable,
        visits: &visits)
      {
      case .filled(let buffers):
        nextAvail &+= UInt16(buffers)
        nextUsed &+= UInt16(buffers)
        available &-= buffers
        unsafe burst.slots[index].outcome = .delivered
      case .neverFits:
        unsafe burst.slots[index].outcome = .undeliverable
      case .needsMore:
        available = 0
        continue
      case .broken(let reason):
        fault = reason
        continue
      }
      index &+= 1
    }
    if nextUsed != before { area.publishUsedIndex(nextUsed) }
    return index &- first
  }

  private enum Scattered {
    case filled(buffers: Int)
    case neverFits
    case needsMore
    case broken(RingFault)
  }

  /// Finds room for one packet, writes its used entries without announcing them, and copies it.
  @inline(__always) private func scatter(
    _ burst: PacketBurst, _ packet: Int, available: Int, memory: inout MemoryView, headerLength: Int, mergeable: Bool,
    visits: inout Int
  ) -> Scattered {
    let area = self.area
    let slot = unsafe burst.slots[packet]
    var rest = slot.length
    var buffers = 0
    var segments = 0
    let visitsBefore = visits
    while rest > 0 {
      // A guest whose descriptors are all here cannot give more of them.
      guard buffers < available else { return visits &- visitsBefore == area.size ? .neverFits : .needsMore }
      let head = area.availHead(nextAvail &+ UInt16(truncatingIfNeeded: buffers))
      var index = head
      var written = 0
      var capacity = 0
      while true {
        guard index <= area.mask else { return .broken(.descriptorIndex) }
        // Chains that are available at the same time share no descriptor, so the ring's size bounds all of a packet's
        // chains together. Without that, a thousand heads of one long chain cost millions of visits in each burst.
        visits &+= 1
        guard visits &- visitsBefore <= area.size else { return .broken(.chainLoop) }
        let descriptor = area.descriptor(index)
        guard descriptor.flags & SplitRingArea.Descriptor.indirect == 0 else { return .broken(.indirect) }
        guard descriptor.flags & SplitRingArea.Descriptor.write != 0 else { return .broken(.descriptorOrder) }
        capacity &+= Int(descriptor.length)
        var address = descriptor.address
        var bytes = min(Int(descriptor.length), rest &- written)
        while bytes > 0 {
          guard let piece = unsafe memory.segment(at: address, length: UInt64(bytes), for: .write) else {
            return .broken(.unmapped)
          }
          guard segments < PacketBurst.maxSegments else { return .broken(.tooManySegments) }
          unsafe burst.segments[segments] = PacketBurst.Segment(host: piece.host, length: piece.length)
          segments &+= 1
          written &+= unsafe piece.length
          address &+= unsafe UInt64(piece.length)
          bytes &-= unsafe piece.length
        }
        // What follows the packet's last byte is not touched, so it need not be looked at either.
        guard written < rest, descriptor.flags & SplitRingArea.Descriptor.next != 0 else { break }
        index = descriptor.next
      }
      guard capacity >= (buffers == 0 ? headerLength : 1) else { return .broken(.shortBuffer) }
      area.setUsed(nextUsed &+ UInt16(truncatingIfNeeded: buffers), head: head, length: UInt32(written))
      buffers &+= 1
      rest &-= written
      if rest > 0 && !mergeable { return .neverFits }
    }
    writeHeader(burst, slot, headerLength, buffers)
    var from = unsafe UnsafeRawPointer(burst.arena + slot.start)
    for i in 0..<segments {
      let segment = unsafe burst.segments[i]
      unsafe clinux_copy(segment.host, from, segment.length)
      unsafe from += segment.length
    }
    return .filled(buffers: buffers)
  }

  /// The header of a packet to a guest that has negotiated no offload: all zero but the number of buffers.
  @inline(__always) private func writeHeader(
    _ burst: PacketBurst, _ slot: PacketBurst.Slot, _ headerLength: Int, _ buffers: Int
  ) {
    let header = unsafe burst.arena + slot.start
    unsafe header.initializeMemory(as: UInt8.self, repeating: 0, count: headerLength)
    if headerLength == NetHeader.modernLength {
      unsafe header.storeBytes(
        of: UInt16(truncatingIfNeeded: buffers).littleEndian, toByteOffset: NetHeader.bufferCountOffset, as: UInt16.self
      )
    }
  }

  // MARK: Notifications

  /// Whether the driver wants a call for what was announced since the last time.
  package func wantsCall() -> Bool {
    // The used index must be visible before the driver's flag is read, or both sides could sleep.
    clinux_fence()
    return area.availFlags & SplitRingArea.noInterrupt == 0
  }

  /// Asks the driver for kicks, or to do without. After asking for them the ring must be looked at once more. Nothing
  /// is written to a broken ring.
  package func setWantsKicks(_ wanted: Bool) {
    guard fault == .none else { return }
    area.setUsedFlags(wanted ? 0 : SplitRingArea.noNotify)
    if wanted { clinux_fence() }
  }
}
