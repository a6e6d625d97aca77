internal import CLinux

/// The memory of a split ring (virtio 1.2, §2.7).
@safe package struct SplitRingArea: RingArea {
  /// `VIRTQ_AVAIL_F_NO_INTERRUPT`
  package static let noInterrupt: UInt16 = 1
  /// `VIRTQ_USED_F_NO_NOTIFY`
  package static let noNotify: UInt16 = 1

  fileprivate let descriptors: UnsafeMutableRawPointer
  fileprivate let avail: UnsafeMutableRawPointer
  fileprivate let used: UnsafeMutableRawPointer
  /// The ring's size less 1; the size is a power of two.
  package let mask: UInt16

  /// The number of descriptors.
  package var size: Int { Int(mask) &+ 1 }

  static var isSequential: Bool { Stretch.isSequential }

  /// A ring in memory that covers what a layout of that size says, correctly aligned, for as long as the value is used.
  @unsafe package init(
    size: Int, descriptors: UnsafeMutableRawPointer, avail: UnsafeMutableRawPointer, used: UnsafeMutableRawPointer
  ) {
    unsafe self.descriptors = descriptors
    unsafe self.avail = avail
    unsafe self.used = used
    mask = UInt16(size - 1)
  }

  /// A ring at guest addresses.
  ///
  /// - Parameters:
  ///   - size: The number of descriptors.
  ///   - memory: Its map must be kept alive for as long as the ring is used.
  /// - Throws: ``VirtioError`` `badRingSize`, or `badRingAddress`, when a part is misaligned or not inside one memory
  ///   region.
  package init(
    size: Int, descriptor: UInt64, avail: UInt64, used: UInt64, memory: MemoryView
  ) throws(VirtioError) {
    let layout = try RingLayout(.split, size: size)
    let parts = try RingParts(layout, descriptor: descriptor, avail: avail, used: used, memory: memory)
    unsafe self.init(size: size, descriptors: parts.descriptors, avail: parts.avail, used: parts.used)
  }

  // MARK: What the driver writes and the device reads

  @inline(__always) static func descriptor(_ low: UInt64, _ high: UInt64) -> RingDescriptor {
    RingDescriptor(
      address: low, length: UInt32(truncatingIfNeeded: high), flags: UInt16(truncatingIfNeeded: high &>> 32),
      link: UInt16(truncatingIfNeeded: high &>> 48))
  }

  static func halves(_ descriptor: RingDescriptor) -> (low: UInt64, high: UInt64) {
    (descriptor.address, UInt64(descriptor.length) | UInt64(descriptor.flags) << 32 | UInt64(descriptor.link) << 48)
  }

  @inline(__always) package func descriptor(_ index: Int) -> RingDescriptor {
    precondition(UInt(bitPattern: index) <= UInt(mask))
    let at = unsafe descriptors + index &* 16
    return unsafe SplitRingArea.descriptor(clinux_load_u64(at), clinux_load_u64(at + 8))
  }

  /// The available index; what it announces is visible afterwards.
  @inline(__always) package var availIndex: UInt16 { unsafe clinux_load_acquire_u16(avail + 2) }
  /// The driver's flags.
  @inline(__always) package var availFlags: UInt16 { unsafe clinux_load_u16(avail) }
  /// The position at which the driver wants to be called (`VIRTIO_F_EVENT_IDX`).
  @inline(__always) package var usedEvent: UInt16 { unsafe clinux_load_u16(avail + 4 + size &* 2) }

  @inline(__always) func announced(from position: UInt16) -> Int { Int(availIndex &- position) }
  @inline(__always) package func head(at position: UInt16) -> Int {
    Int(unsafe clinux_load_u16(avail + 4 + Int(position & mask) &* 2))
  }
  @inline(__always) func stretch(from position: UInt16) -> Stretch {
    let index = Int(position & mask)
    return unsafe Stretch(
      descriptors: descriptors, heads: avail + 4 + index &* 2, entries: used + 4 + index &* 8, last: UInt32(mask),
      count: size &- index)
  }

  /// The entries of both rings up to where they start anew.
  @safe struct Stretch: RingStretch {
    static var isSequential: Bool { false }
    fileprivate let descriptors: UnsafeMutableRawPointer
    fileprivate var heads: UnsafeMutableRawPointer
    fileprivate var entries: UnsafeMutableRawPointer
    /// The last descriptor's index, in as many bits as indices are compared in.
    fileprivate let last: UInt32
    var count: Int

    @inline(__always) func prefix(_ count: Int) -> Stretch {
      precondition(count <= self.count)
      return unsafe Stretch(descriptors: descriptors, heads: heads, entries: entries, last: last, count: count)
    }
    @inline(__always) func dropFirst(_ count: Int) -> Stretch {
      precondition(count >= 0 && count <= self.count)
      return unsafe Stretch(
        descriptors: descriptors, heads: heads + count &* 2, entries: entries + count &* 8, last: last,
        count: self.count &- count)
    }
    @inline(__always) mutating func advance(by descriptors: Int) {
      unsafe heads += descriptors &* 2
      unsafe entries += descriptors &* 8
      count &-= descriptors
    }
    @inline(__always) func single(_ index: Int, isWritable: Bool) -> SingleDescriptor? {
      precondition(index >= 0 && index < count)
      let head = UInt32(unsafe clinux_load_u16(heads + index &* 2))
      guard head <= last else { return nil }
      let at = unsafe descriptors + Int(head) &* 16
      let shape = RingDescriptor.next | RingDescriptor.write | RingDescriptor.indirect
      guard unsafe clinux_load_u16(at + 12) & shape == (isWritable ? RingDescriptor.write : 0) else { return nil }
      return SingleDescriptor(
        address: unsafe clinux_load_u64(at), length: unsafe clinux_load_u32(at + 8),
        id: UInt16(truncatingIfNeeded: head))
    }
    @inline(__always) func writeUsed(_ index: Int, id: UInt16, length: UInt32, isWritten: Bool, isFirst: Bool) {
      precondition(index >= 0 && index < count)
      let at = unsafe entries + index &* 8
      if isWritten {
        unsafe clinux_store_u32(at, UInt32(id))
        unsafe clinux_store_u32(at + 4, length)
      } else {
        // The driver looks at neither half before both were announced.
        unsafe clinux_put_u64(at, UInt64(id) | UInt64(length) &<< 32)
      }
    }
  }

  @inline(__always) func next(_ index: Int, _ descriptor: RingDescriptor) -> Int { Int(descriptor.link) }
  @inline(__always) func advance(_ position: UInt16, by descriptors: Int) -> UInt16 { position &+ 1 }
  func retreat(_ position: UInt16, by descriptors: Int) -> UInt16 { position &- 1 }
  @inline(__always) func advance(_ position: UInt16, steps: Int) -> UInt16 {
    position &+ UInt16(truncatingIfNeeded: steps)
  }

  package func setDescriptor(_ index: Int, _ value: RingDescriptor) {
    precondition(UInt(bitPattern: index) <= UInt(mask))
    let at = unsafe descriptors + index &* 16
    let (low, high) = SplitRingArea.halves(value)
    unsafe clinux_store_u64(at, low)
    unsafe clinux_store_u64(at + 8, high)
  }
  package func setHead(at position: UInt16, _ head: UInt16) {
    unsafe clinux_store_u16(avail + 4 + Int(position & mask) &* 2, head)
  }
  package func publishAvailIndex(_ index: UInt16) { unsafe clinux_store_release_u16(avail + 2, index) }
  package func setAvailFlags(_ flags: UInt16) { unsafe clinux_store_u16(avail, flags) }
  package func setUsedEvent(_ position: UInt16) { unsafe clinux_store_u16(avail + 4 + size &* 2, position) }

  // MARK: What the device writes and the driver reads

  @inline(__always) func writeUsed(at position: UInt16, id: UInt16, length: UInt32, isFirst: Bool) {
    stretch(from: position).writeUsed(0, id: id, length: length, isWritten: length > 0, isFirst: isFirst)
  }
  @inline(__always) func publishUsed(first: UInt16, length: UInt32, next: UInt16) { publishUsedIndex(next) }
  func noteUsed(from first: UInt16, count: Int, in log: RingLog) {
    let start = Int(first & mask)
    let straight = min(count, size - start)
    log.noteUsed(4 + start * 8..<4 + (start + straight) * 8)
    log.noteUsed(4..<4 + (min(count, size) - straight) * 8)
    log.noteUsed(2..<4)
  }
  /// Announces the entries below `index`; what they stand for is visible before.
  @inline(__always) package func publishUsedIndex(_ index: UInt16) { unsafe clinux_store_release_u16(used + 2, index) }
  package func setUsedFlags(_ flags: UInt16) { unsafe clinux_store_u16(used, flags) }
  package func setAvailEvent(_ position: UInt16) { unsafe clinux_store_u16(used + 4 + size &* 8, position) }

  package var usedIndex: UInt16 { unsafe clinux_load_acquire_u16(used + 2) }
  package var usedFlags: UInt16 { unsafe clinux_load_u16(used) }
  /// The position at which the device wants to be kicked (`VIRTIO_F_EVENT_IDX`).
  package var availEvent: UInt16 { unsafe clinux_load_u16(used + 4 + size &* 8) }
  package func usedEntry(_ position: UInt16) -> (id: UInt32, length: UInt32) {
    let at = unsafe used + 4 + Int(position & mask) &* 8
    return unsafe (clinux_load_u32(at), clinux_load_u32(at + 4))
  }

  // MARK: Notifications (virtio 1.2, §2.7.7 and §2.7.10)

  /// Whether an event position was passed by a side that has moved by `count` to `next`.
  @inline(__always) package static func passed(_ event: UInt16, next: UInt16, count: Int) -> Bool {
    Int(next &- event &- 1) < count
  }

  func wantsCall(next: UInt16, unannounced: Int, hasEventIndex: Bool) -> Bool {
    hasEventIndex
      ? SplitRingArea.passed(usedEvent, next: next, count: unannounced)
      : availFlags & SplitRingArea.noInterrupt == 0
  }

  func setWantsKicks(_ wanted: Bool, hasEventIndex: Bool) -> Range<Int> {
    guard hasEventIndex else {
      setUsedFlags(wanted ? 0 : SplitRingArea.noNotify)
      return 0..<2
    }
    // An event that lies behind is one that the driver will not come to soon.
    guard wanted else { return 0..<0 }
    // The event has to be where the driver is, not where the device is: chains that wait for more of their kind
    // stay unfetched, and the ones to come must be announced. A driver that is faster than this is met by the look at
    // the ring that follows.
    var seen = availIndex
    for _ in 0..<16 {
      setAvailEvent(seen)
      clinux_fence()
      let now = availIndex
      if now == seen { break }
      seen = now
    }
    return 4 + size * 8..<6 + size * 8
  }
}
