internal import CLinux

/// The packets of one burst, copied out of guest memory: a device works on these copies and never on shared memory.
///
/// The bytes lie in one arena, one packet behind the other, each as [header | payload] with the payload aligned to a
/// cache line. A burst belongs to one thread; a worker has one and uses it for all its rings.
@safe package final class PacketBurst {
  /// One packet.
  package struct Slot {
    /// Where the header starts in the arena.
    package var start: Int = 0
    /// The length of header and payload in bytes.
    package var length: Int = 0
    /// Where the chain it came from was announced.
    package var position: UInt16 = 0
    /// The id of that chain.
    package var id: UInt16 = 0
    /// How many descriptors of the ring that chain takes.
    package var descriptors: UInt16 = 0
    /// What has become of it.
    package var outcome: Outcome = .pending
  }

  /// What has become of a packet.
  package enum Outcome: UInt8 {
    /// It is in the arena.
    case pending
    /// It was longer than ``PacketBurst/maxLength`` and was not copied.
    case oversized
    /// It was written into buffers of the guest.
    case delivered
    /// It does not fit into the buffers that this guest gives, however many it gives.
    case undeliverable
  }

  /// The most packets in a burst.
  package static let capacity = 32
  /// The longest packet with its header, in bytes: 64 KiB of payload and headers (virtio 1.2, §5.1.6.3.1).
  package static let maxLength = 65562
  /// How many descriptors a burst visits before it ends early.
  package static let maxVisits = 4096

  private static let arenaBytes = 4 * 65536
  static let lead = 64

  /// A buffer of the guest that is about to be filled.
  struct Buffer {
    /// How many bytes of it.
    let length: UInt32
    let id: UInt16
    let descriptors: UInt16
  }

  @usableFromInline let slots: UnsafeMutablePointer<Slot>
  @usableFromInline let arena: UnsafeMutableRawPointer
  /// The buffers that one packet is scattered over; no more than there are descriptors.
  private let buffers: UnsafeMutablePointer<Buffer>
  /// Where in guest memory the packet is that is being copied.
  let segments = SegmentList()
  // Stored properties of a class that change would cost two calls of the run time's exclusivity check each time another
  // module looks at a packet; what is behind a pointer costs a load.
  @usableFromInline let state: UnsafeMutablePointer<State>

  /// How far a burst is filled.
  @usableFromInline struct State {
    @usableFromInline var count = 0
    @usableFromInline var end = 0
    @usableFromInline init() {}
  }

  /// How many slots are in use.
  @inlinable package internal(set) var count: Int {
    get { unsafe state.pointee.count }
    set { unsafe state.pointee.count = newValue }
  }
  /// The first free byte of the arena, a multiple of 64.
  var end: Int {
    get { unsafe state.pointee.end }
    set { unsafe state.pointee.end = newValue }
  }

  /// A burst without packets; about 300 KiB, of which the system backs what is used.
  package init() {
    unsafe slots = .allocate(capacity: PacketBurst.capacity)
    unsafe slots.initialize(repeating: Slot(), count: PacketBurst.capacity)
    unsafe arena = .allocate(byteCount: PacketBurst.arenaBytes, alignment: 64)
    unsafe buffers = .allocate(capacity: RingLayout.maxSize)
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(to: State())
  }

  deinit {
    unsafe slots.deallocate()
    unsafe arena.deallocate()
    unsafe buffers.deallocate()
    unsafe state.deallocate()
  }

  /// Forgets all packets.
  package func clear() {
    count = 0
    end = 0
  }

  /// Where a packet's header has to start so that its payload starts on a cache line, nil when the arena is full.
  @inline(__always) func place(headerLength: Int) -> Int? {
    let start = end &+ PacketBurst.lead &- headerLength
    return start &+ PacketBurst.maxLength <= PacketBurst.arenaBytes ? start : nil
  }

  /// A slot's values.
  @inlinable package subscript(index: Int) -> Slot {
    precondition(index >= 0 && index < count)
    return unsafe slots[index]
  }

  // MARK: What rings do with it

  /// Adds a packet that was copied to where ``place(headerLength:)`` said.
  @inline(__always) func add(_ slot: Slot) {
    precondition(count < PacketBurst.capacity)
    unsafe slots[count] = slot
    count &+= 1
    if slot.outcome != .oversized { end = (slot.start &+ slot.length &+ 63) & ~63 }
  }

  @inline(__always) func setOutcome(_ outcome: Outcome, of index: Int) {
    precondition(index >= 0 && index < count)
    unsafe slots[index].outcome = outcome
  }

  /// Copies what the segments refer to, `count` bytes in all, to where ``place(headerLength:)`` said.
  @inline(__always) func gather(at start: Int, count: Int) {
    precondition(start >= 0 && count <= PacketBurst.maxLength && start + count <= PacketBurst.arenaBytes)
    var to = unsafe arena + start
    for i in 0..<segments.count {
      let segment = segments[i]
      unsafe clinux_copy(to, segment.host, segment.length)
      unsafe to += segment.length
    }
  }

  /// Copies a packet to where the segments are, which have its length in all.
  @inline(__always) func scatter(_ slot: Slot) {
    var from = unsafe UnsafeRawPointer(arena + slot.start)
    for i in 0..<segments.count {
      let segment = segments[i]
      unsafe clinux_copy(segment.host, from, segment.length)
      unsafe from += segment.length
    }
  }

  @inline(__always) func setBuffer(_ index: Int, _ buffer: Buffer) {
    precondition(UInt(bitPattern: index) < UInt(RingLayout.maxSize))
    unsafe (buffers + index).initialize(to: buffer)
  }
  @inline(__always) func buffer(_ index: Int) -> Buffer {
    precondition(UInt(bitPattern: index) < UInt(RingLayout.maxSize))
    return unsafe buffers[index]
  }

  /// Writes `num_buffers` into a packet's header (virtio 1.2, §5.1.6).
  @inline(__always) func setBufferCount(_ count: Int, of slot: Slot) {
    let at = unsafe arena + slot.start + NetHeader.bufferCountOffset
    unsafe at.storeBytes(of: UInt16(truncatingIfNeeded: count).littleEndian, as: UInt16.self)
  }

  // MARK: What devices do with it

  /// Makes all headers zero: packets to a guest that has negotiated no offload.
  package func clearHeaders(length: Int) {
    precondition(length >= 0 && length <= PacketBurst.lead)
    for i in 0..<count {
      let slot = unsafe slots[i]
      unsafe (arena + slot.start).initializeMemory(as: UInt8.self, repeating: 0, count: min(length, slot.length))
    }
  }

  /// Adds a packet that the device itself has made.
  ///
  /// - Parameters:
  ///   - length: Its payload in bytes.
  ///   - headerLength: The header's length in bytes; the header is all zero.
  ///   - fill: Writes the payload.
  /// - Returns: Whether there was room.
  package func append(length: Int, headerLength: Int, _ fill: (inout MutableSpan<UInt8>) -> Void) -> Bool {
    precondition(length >= 0 && headerLength >= 0 && headerLength <= PacketBurst.lead)
    guard count < PacketBurst.capacity, length <= PacketBurst.maxLength - headerLength,
      let start = place(headerLength: headerLength)
    else { return false }
    unsafe (arena + start).initializeMemory(as: UInt8.self, repeating: 0, count: headerLength)
    withBytes(at: start + headerLength, count: length, fill)
    unsafe slots[count] = Slot(start: start, length: headerLength + length)
    count += 1
    end = (start + headerLength + length + 63) & ~63
    return true
  }

  /// Forgets what has become of the packets, so that the same ones can be sent again; those that were not copied have
  /// nothing to send and stay ``Outcome/oversized``.
  package func rearm() {
    for i in 0..<count where unsafe slots[i].outcome != .oversized { unsafe slots[i].outcome = .pending }
  }

  /// Works on a packet's payload in place.
  @inlinable package func withPayload<R>(
    _ index: Int, headerLength: Int, _ body: (inout MutableSpan<UInt8>) -> R
  ) -> R {
    let slot = self[index]
    return withBytes(at: slot.start + headerLength, count: max(slot.length - headerLength, 0), body)
  }

  /// Lends out a part of the arena that `place(headerLength:)` has made room for.
  @inlinable func withBytes<R>(at start: Int, count: Int, _ body: (inout MutableSpan<UInt8>) -> R) -> R {
    let bytes = unsafe UnsafeMutableBufferPointer(
      start: (arena + start).assumingMemoryBound(to: UInt8.self), count: count)
    var span = unsafe bytes.mutableSpan
    return body(&span)
  }

  /// Keeps the packets for which `isIncluded` holds, in order. Their heads are forgotten with the others.
  @inlinable package func filter(_ isIncluded: (Int) -> Bool) {
    var kept = 0
    for i in 0..<count where isIncluded(i) {
      unsafe slots[kept] = slots[i]
      kept += 1
    }
    count = kept
  }
}
