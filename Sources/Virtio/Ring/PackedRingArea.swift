internal import CLinux

/// The memory of a packed ring (virtio 1.2, §2.8).
@safe package struct PackedRingArea: RingArea {
  /// `RING_EVENT_FLAGS_ENABLE`
  package static let enable: UInt16 = 0
  /// `RING_EVENT_FLAGS_DISABLE`
  package static let disable: UInt16 = 1
  /// `RING_EVENT_FLAGS_DESC`: only for a certain descriptor (`VIRTIO_F_EVENT_IDX`).
  package static let descriptor: UInt16 = 2

  /// The bit of a position that is the wrap counter.
  package static let wrapCounter: UInt16 = 0x8000
  private let descriptors: UnsafeMutableRawPointer
  private let driverEvent: UnsafeMutableRawPointer
  private let deviceEvent: UnsafeMutableRawPointer
  /// The number of descriptors.
  package let size: Int

  static var isSequential: Bool { Stretch.isSequential }

  /// A ring in memory that covers what a layout of that size says, correctly aligned, for as long as the value is used.
  @unsafe package init(
    size: Int, descriptors: UnsafeMutableRawPointer, driverEvent: UnsafeMutableRawPointer,
    deviceEvent: UnsafeMutableRawPointer
  ) {
    self.size = size
    unsafe self.descriptors = descriptors
    unsafe self.driverEvent = driverEvent
    unsafe self.deviceEvent = deviceEvent
  }

  /// A ring at guest addresses.
  ///
  /// - Parameters:
  ///   - size: The number of descriptors.
  ///   - memory: Its map must be kept alive for as long as the ring is used.
  /// - Throws: ``VirtioError`` `badRingSize`, or `badRingAddress`, when a part is misaligned or not inside one memory
  ///   region.
  package init(
    size: Int, descriptor: UInt64, driverEvent: UInt64, deviceEvent: UInt64, memory: MemoryView
  ) throws(VirtioError) {
    let layout = try RingLayout(.packed, size: size)
    let parts = try RingParts(layout, descriptor: descriptor, avail: driverEvent, used: deviceEvent, memory: memory)
    unsafe self.init(size: size, descriptors: parts.descriptors, driverEvent: parts.avail, deviceEvent: parts.used)
  }

  // MARK: Descriptors

  @inline(__always) static func descriptor(_ low: UInt64, _ high: UInt64) -> RingDescriptor {
    RingDescriptor(
      address: low, length: UInt32(truncatingIfNeeded: high), flags: UInt16(truncatingIfNeeded: high &>> 48),
      link: UInt16(truncatingIfNeeded: high &>> 32))
  }

  static func halves(_ descriptor: RingDescriptor) -> (low: UInt64, high: UInt64) {
    (descriptor.address, UInt64(descriptor.length) | UInt64(descriptor.link) << 32 | UInt64(descriptor.flags) << 48)
  }

  /// Where a position's descriptor is. A position that no ring of this size has is brought back into it.
  @inline(__always) private func index(_ position: UInt16) -> Int {
    let index = Int(position & ~PackedRingArea.wrapCounter)
    return index < size ? index : 0
  }

  @inline(__always) private func at(_ index: Int) -> UnsafeMutableRawPointer {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: size))
    return unsafe descriptors + index &* 16
  }

  /// The flags of a descriptor; what they announce is visible afterwards.
  @inline(__always) private func flags(_ index: Int) -> UInt16 { unsafe clinux_load_acquire_u16(at(index) + 14) }

  @inline(__always) package func descriptor(_ index: Int) -> RingDescriptor {
    let at = unsafe at(index)
    return unsafe PackedRingArea.descriptor(clinux_load_u64(at), clinux_load_u64(at + 8))
  }

  /// The flags of a descriptor that a side with that wrap counter makes available.
  @inline(__always) private static func availFlags(_ position: UInt16) -> UInt16 {
    position & wrapCounter != 0 ? RingDescriptor.avail : RingDescriptor.used
  }
  /// The flags of a descriptor that a side with that wrap counter has used.
  @inline(__always) private static func usedFlags(_ position: UInt16) -> UInt16 {
    position & wrapCounter != 0 ? RingDescriptor.avail | RingDescriptor.used : 0
  }

  // MARK: The device's side

  @inline(__always) func announced(from position: UInt16) -> Int {
    let both = RingDescriptor.avail | RingDescriptor.used
    return flags(index(position)) & both == PackedRingArea.availFlags(position) ? 1 : 0
  }
  @inline(__always) func head(at position: UInt16) -> Int { index(position) }
  @inline(__always) func stretch(from position: UInt16) -> Stretch {
    let index = index(position)
    return unsafe Stretch(
      start: at(index), count: size &- index, availFlags: PackedRingArea.availFlags(position),
      usedFlags: UInt64(PackedRingArea.usedFlags(position)) &<< 48)
  }

  /// The descriptors up to the ring's end, in one lap.
  @safe struct Stretch: RingStretch {
    static var isSequential: Bool { true }
    fileprivate var start: UnsafeMutableRawPointer
    var count: Int
    fileprivate let availFlags: UInt16
    /// Where they stand in a descriptor's upper half.
    fileprivate let usedFlags: UInt64

    @inline(__always) func prefix(_ count: Int) -> Stretch {
      precondition(count <= self.count)
      return unsafe Stretch(start: start, count: count, availFlags: availFlags, usedFlags: usedFlags)
    }
    @inline(__always) func dropFirst(_ count: Int) -> Stretch {
      precondition(count >= 0 && count <= self.count)
      return unsafe Stretch(
        start: start + count &* 16, count: self.count &- count, availFlags: availFlags, usedFlags: usedFlags)
    }
    @inline(__always) mutating func advance(by descriptors: Int) {
      unsafe start += descriptors &* 16
      count &-= descriptors
    }
    @inline(__always) private func at(_ index: Int) -> UnsafeMutableRawPointer {
      precondition(index >= 0 && index < count)
      return unsafe start + index &* 16
    }
    @inline(__always) func single(_ index: Int, isWritable: Bool) -> SingleDescriptor? {
      let at = unsafe at(index)
      // What announces it is in the same word as its shape, its id and its length.
      let high = unsafe clinux_load_acquire_u64(at + 8)
      let shape =
        RingDescriptor.next | RingDescriptor.write | RingDescriptor.indirect | RingDescriptor.avail
        | RingDescriptor.used
      guard
        UInt16(truncatingIfNeeded: high &>> 48) & shape == availFlags | (isWritable ? RingDescriptor.write : 0)
      else { return nil }
      return SingleDescriptor(
        address: unsafe clinux_load_u64(at), length: UInt32(truncatingIfNeeded: high),
        id: UInt16(truncatingIfNeeded: high &>> 32))
    }
    @inline(__always) func writeUsed(_ index: Int, id: UInt16, length: UInt32, isWritten: Bool, isFirst: Bool) {
      let at = unsafe at(index)
      if isFirst {
        unsafe clinux_store_u32(at + 8, length)
        unsafe clinux_store_u16(at + 12, id)
      } else {
        let flags = usedFlags | (isWritten ? UInt64(RingDescriptor.write) &<< 48 : 0)
        unsafe clinux_store_release_u64(at + 8, UInt64(length) | UInt64(id) &<< 32 | flags)
      }
    }
  }

  @inline(__always) func next(_ index: Int, _ descriptor: RingDescriptor) -> Int {
    index &+ 1 < size ? index &+ 1 : 0
  }
  @inline(__always) package func advance(_ position: UInt16, by descriptors: Int) -> UInt16 {
    let next = index(position) &+ descriptors
    let wrap = position & PackedRingArea.wrapCounter
    return next < size
      ? UInt16(truncatingIfNeeded: next) | wrap
      : UInt16(truncatingIfNeeded: next &- size) | wrap ^ PackedRingArea.wrapCounter
  }

  func retreat(_ position: UInt16, by descriptors: Int) -> UInt16 {
    let index = index(position) &- descriptors
    let wrap = position & PackedRingArea.wrapCounter
    return index >= 0
      ? UInt16(truncatingIfNeeded: index) | wrap
      : UInt16(truncatingIfNeeded: index &+ size) | wrap ^ PackedRingArea.wrapCounter
  }

  @inline(__always) func advance(_ position: UInt16, steps: Int) -> UInt16 { advance(position, by: steps) }

  @inline(__always) private static func flags(_ position: UInt16, length: UInt32) -> UInt16 {
    usedFlags(position) | (length > 0 ? RingDescriptor.write : 0)
  }

  @inline(__always) func writeUsed(at position: UInt16, id: UInt16, length: UInt32, isFirst: Bool) {
    stretch(from: position).writeUsed(0, id: id, length: length, isWritten: length > 0, isFirst: isFirst)
  }

  @inline(__always) func publishUsed(first: UInt16, length: UInt32, next: UInt16) {
    unsafe clinux_store_release_u16(at(index(first)) + 14, PackedRingArea.flags(first, length: length))
  }

  /// The descriptors between the first ones of chains, which are not written, are noted with them: they lie in the ring too.
  func noteUsed(from first: UInt16, count: Int, in log: RingLog) {
    let start = index(first)
    let straight = min(count, size - start)
    unsafe log.note(descriptors + start * 16, length: straight * 16)
    unsafe log.note(descriptors, length: (min(count, size) - straight) * 16)
  }

  // MARK: The driver's side

  /// Writes a descriptor; as the first of several that are announced together, without the flags that make it available.
  package func setAvailable(_ position: UInt16, _ value: RingDescriptor, isFirst: Bool) {
    let at = unsafe at(index(position))
    unsafe clinux_store_u64(at, value.address)
    unsafe clinux_store_u32(at + 8, value.length)
    unsafe clinux_store_u16(at + 12, value.link)
    if !isFirst { publishAvailable(position, flags: value.flags) }
  }
  /// Makes a descriptor available; what was written before is visible before.
  package func publishAvailable(_ position: UInt16, flags: UInt16) {
    unsafe clinux_store_release_u16(at(index(position)) + 14, flags | PackedRingArea.availFlags(position))
  }
  /// The chain that the device says it used at a position, nil when it has not used one.
  package func usedEntry(_ position: UInt16) -> (id: UInt32, length: UInt32)? {
    let index = index(position)
    let both = RingDescriptor.avail | RingDescriptor.used
    guard flags(index) & both == PackedRingArea.usedFlags(position) else { return nil }
    let entry = unsafe PackedRingArea.descriptor(0, clinux_load_u64(at(index) + 8))
    // Without the write flag the length means nothing (virtio 1.2, §2.8.4).
    return (UInt32(entry.link), entry.isWritable ? entry.length : 0)
  }
  /// Makes every descriptor one that neither side has anything to do with, for two sides that start at a position.
  package func clear(startingAt position: UInt16) {
    let start = index(position)
    for index in 0..<size {
      let at = unsafe at(index)
      // What lies behind was used in this lap, what lies ahead in the one before.
      let lap = index < start ? position : position ^ PackedRingArea.wrapCounter
      unsafe clinux_store_u64(at, 0)
      unsafe clinux_store_u64(at + 8, UInt64(PackedRingArea.usedFlags(lap)) << 48)
    }
    setDriverEvent(0, flags: PackedRingArea.enable)
    setDeviceEvent(0, flags: PackedRingArea.enable)
  }

  // MARK: Notifications (virtio 1.2, §2.8.10 and §2.8.14)

  /// When one side wants to hear of the other.
  package struct Event {
    /// A position.
    package var position: UInt16
    package var flags: UInt16
  }

  private static func event(_ value: UInt32) -> Event {
    Event(position: UInt16(truncatingIfNeeded: value), flags: UInt16(truncatingIfNeeded: value >> 16) & 3)
  }

  package var driverEventValue: Event { unsafe PackedRingArea.event(clinux_load_u32(driverEvent)) }
  package var deviceEventValue: Event { unsafe PackedRingArea.event(clinux_load_u32(deviceEvent)) }
  package func setDriverEvent(_ position: UInt16, flags: UInt16) {
    unsafe clinux_store_u32(driverEvent, UInt32(position) | UInt32(flags) << 16)
  }
  package func setDeviceEvent(_ position: UInt16, flags: UInt16) {
    unsafe clinux_store_u32(deviceEvent, UInt32(position) | UInt32(flags) << 16)
  }

  /// Whether the other side wants to hear that positions have moved by `count` descriptors to `next`.
  package func isWanted(_ event: Event, next: UInt16, count: Int, hasEventIndex: Bool) -> Bool {
    switch event.flags {
    case PackedRingArea.disable: return false
    case PackedRingArea.descriptor where hasEventIndex:
      // How far back the event lies: at most two laps, after which positions are the same again.
      let wrapCounter = PackedRingArea.wrapCounter
      let laps = (next ^ event.position) & wrapCounter == 0 ? 0 : size
      let distance = Int(next & ~wrapCounter) - Int(event.position & ~wrapCounter) + laps
      return (distance > 0 ? distance : distance + 2 * size) <= count
    default: return true
    }
  }

  func wantsCall(next: UInt16, unannounced: Int, hasEventIndex: Bool) -> Bool {
    isWanted(driverEventValue, next: next, count: unannounced, hasEventIndex: hasEventIndex)
  }

  func setWantsKicks(_ wanted: Bool, hasEventIndex: Bool) -> Range<Int> {
    // Not for a certain descriptor even where that was negotiated: chains that wait for more of their kind stay unfetched,
    // and to find the first one that is not announced yet the whole ring would have to be walked.
    setDeviceEvent(0, flags: wanted ? PackedRingArea.enable : PackedRingArea.disable)
    if wanted { clinux_fence() }
    return 0..<4
  }
}
