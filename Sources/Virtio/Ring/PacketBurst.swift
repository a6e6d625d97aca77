internal import CLinux

/// Up to 32 packets, copied out of guest memory or made by a device: rings are emptied into bursts and filled from them,
/// and whoever works on a packet works on the copy.
///
/// The packets lie in an arena of the burst's own, or in buffers of a ``PacketPool``, each as [header | payload] with the
/// payload aligned to a cache line. They have numbers from 0 on, which change when packets before them go.
///
/// A burst belongs to one thread at a time. Nothing here allocates.
///
/// ```swift
/// let pool = try PacketPool(count: 4096)
/// let burst = PacketBurst(pool), sideways = PacketBurst(pool)
/// _ = burst.append(length: 60) { frame in for i in 0..<60 { frame[i] = 0xff } }
/// let isWanted = burst.withPayload(of: 0) { frame in frame[12] == 0x08 }
/// if !isWanted { burst.move(to: sideways) }  // same buffer, other burst
/// burst.clear()
/// ```
@safe public final class PacketBurst {
  /// The most packets in a burst.
  public static let capacity = 32
  /// The longest payload of a packet in bytes: 64 KiB and the headers of its link (virtio 1.2, §5.1.6.3.1).
  public static let maxPayloadLength = 65550
  /// The longest packet with its header, in bytes.
  package static let maxLength = maxPayloadLength + NetHeader.modernLength
  /// How many descriptors a burst visits before it ends early.
  package static let maxVisits = 4096

  static let arenaBytes = 4 * 65536
  /// The room for a header in front of a payload; the header is shorter.
  static let lead = 64

  /// A buffer of the guest that is about to be filled.
  struct Buffer {
    /// How many bytes of it.
    let length: UInt32
    let id: UInt16
    let descriptors: UInt16
  }

  /// Where the packets' bytes are; nil for an arena of the burst's own.
  public let pool: PacketPool?
  @usableFromInline let slots: UnsafeMutablePointer<Slot>
  /// The arena, or the memory of all of the pool's buffers.
  @usableFromInline let arena: UnsafeMutableRawPointer
  let arenaLength: Int
  /// The buffers that one packet is scattered over, or those of a run of packets; no more than there are descriptors.
  let buffers: UnsafeMutablePointer<Buffer>
  /// Where in guest memory the packet is that is being copied.
  let segments = SegmentList()
  /// The pool's buffers that are set aside for the packets to come, the next one last; room for those of a full burst
  /// beside as many as are kept.
  let reserve: UnsafeMutablePointer<UInt32>
  // Stored properties of a class that change would cost two calls of the run time's exclusivity check each time another
  // module looks at a packet; what is behind a pointer costs a load.
  @usableFromInline let state: UnsafeMutablePointer<State>

  /// How far a burst is filled.
  @usableFromInline struct State {
    @usableFromInline var count = 0
    /// Where the next packet's payload goes, if that is not behind `limit`.
    var next = PacketBurst.lead
    var limit = PacketBurst.arenaBytes - PacketBurst.maxLength
    /// How many buffers are in reserve.
    var reserved = 0
    /// The length of the headers of all packets.
    var headerLength = NetHeader.modernLength
    /// Whether the pool had no buffer for a packet.
    var isStarved = false
  }

  /// A burst without packets, with an arena of its own: 256 KiB, of which the system backs what is used.
  public init() {
    pool = nil
    arenaLength = PacketBurst.arenaBytes
    unsafe arena = .allocate(byteCount: arenaLength, alignment: 64)
    unsafe slots = .allocate(capacity: PacketBurst.capacity)
    unsafe slots.initialize(repeating: Slot(), count: PacketBurst.capacity)
    unsafe buffers = .allocate(capacity: RingLayout.maxSize)
    unsafe reserve = .allocate(capacity: 1)
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(to: State())
  }

  /// A burst without packets, whose packets will be in buffers of a pool.
  public init(_ pool: PacketPool) {
    self.pool = pool
    arenaLength = pool.bytes
    unsafe arena = pool.base
    unsafe slots = .allocate(capacity: PacketBurst.capacity)
    unsafe slots.initialize(repeating: Slot(), count: PacketBurst.capacity)
    unsafe buffers = .allocate(capacity: RingLayout.maxSize)
    unsafe reserve = .allocate(capacity: 2 * PacketBurst.capacity)
    unsafe state = .allocate(capacity: 1)
    // No buffer is in reserve, so none is at hand.
    unsafe state.initialize(to: State(limit: -1))
  }

  deinit {
    if let pool {
      clear()
      unsafe pool.give(state.pointee.reserved, from: reserve)
    } else {
      unsafe arena.deallocate()
    }
    unsafe slots.deallocate()
    unsafe buffers.deallocate()
    unsafe reserve.deallocate()
    unsafe state.deallocate()
  }

  /// How many packets there are.
  @inlinable public internal(set) var count: Int {
    get { unsafe state.pointee.count }
    set { unsafe state.pointee.count = newValue }
  }

  /// A slot's values.
  @inlinable package subscript(index: Int) -> Slot {
    precondition(index >= 0 && index < count)
    return unsafe slots[index]
  }

  // MARK: Places for packets

  /// The longest packet in bytes with a header of that length.
  @inline(__always) func limit(headerLength: Int) -> Int {
    pool.map { $0.payloadLength &+ headerLength } ?? PacketBurst.maxLength
  }

  /// Where the next packet's header has to start so that its payload starts on a cache line, nil when the arena has no
  /// place left.
  @inline(__always) func place(headerLength: Int) -> Int? {
    guard unsafe state.pointee.next <= state.pointee.limit || refill() else { return nil }
    return unsafe state.pointee.next &- headerLength
  }

  /// Takes the place that ``place(headerLength:)`` gave, for a packet that ends at `end`.
  @inline(__always) private func take(upTo end: Int) {
    if pool == nil {
      unsafe state.pointee.next = ((end &+ 63) & ~63) &+ PacketBurst.lead
    } else {
      unsafe state.pointee.reserved &-= 1
      prepare()
    }
  }

  /// Gets buffers from the pool into the reserve, which is empty.
  @inline(never) private func refill() -> Bool {
    guard let pool else { return false }
    unsafe state.pointee.reserved = pool.take(PacketBurst.capacity, into: reserve)
    prepare()
    unsafe state.pointee.isStarved = state.pointee.reserved == 0
    return unsafe state.pointee.reserved > 0
  }

  /// Has the next buffer of the reserve at hand.
  @inline(__always) private func prepare() {
    let reserved = unsafe state.pointee.reserved
    if reserved > 0 {
      unsafe state.pointee.next = Int(reserve[reserved &- 1]) &* PacketPool.line
      unsafe state.pointee.limit = .max
    } else {
      unsafe state.pointee.limit = -1
    }
  }

  /// Has as many buffers in reserve as a burst takes, if the pool has them.
  @inline(__always) func prepareIntake(_ count: Int) {
    if let pool, unsafe state.pointee.reserved < count { fillReserve(pool) }
  }

  @inline(never) private func fillReserve(_ pool: PacketPool) {
    let reserved = unsafe state.pointee.reserved
    guard reserved < PacketBurst.capacity else { return }
    unsafe state.pointee.reserved += pool.take(PacketBurst.capacity - reserved, into: reserve + reserved)
    prepare()
  }

  /// Takes note of how many buffers are left in reserve.
  @inline(__always) func keepPlaces(_ reserved: Int) {
    unsafe state.pointee.reserved = reserved
    prepare()
  }

  /// Whether a packet found no buffer in the pool since the last time this was asked.
  package func takeStarved() -> Bool {
    defer { unsafe state.pointee.isStarved = false }
    return unsafe state.pointee.isStarved
  }

  /// Gives the place of a packet back. The slot is the caller's to forget, and so is ``keepReserve()``.
  @inline(__always) private func free(_ slot: Slot) {
    guard slot.outcome != .oversized else { return }
    let reserved = unsafe state.pointee.reserved
    precondition(reserved < 2 * PacketBurst.capacity)
    unsafe reserve[reserved] = UInt32(truncatingIfNeeded: slot.payload / PacketPool.line)
    unsafe state.pointee.reserved = reserved &+ 1
  }

  /// Gives what is in the reserve beyond a full burst back to the pool.
  @inline(__always) private func keepReserve(_ pool: PacketPool) {
    let surplus = unsafe state.pointee.reserved &- PacketBurst.capacity
    if surplus > 0 {
      unsafe pool.give(surplus, from: reserve + PacketBurst.capacity)
      unsafe state.pointee.reserved = PacketBurst.capacity
    }
    prepare()
  }

  /// Gives the place of one packet back. In an arena it can be used again only when all packets have gone.
  @usableFromInline func drop(_ slot: Slot) {
    guard let pool else { return }
    free(slot)
    keepReserve(pool)
  }

  /// Forgets all slots but the first `kept`, whose packets have gone or moved there.
  @usableFromInline func keep(_ kept: Int) {
    count = kept
    if kept == 0 && pool == nil { unsafe state.pointee.next = PacketBurst.lead }
  }

  /// Drops all packets.
  public func clear() {
    if let pool {
      for i in 0..<count { free(unsafe slots[i]) }
      keepReserve(pool)
    }
    keep(0)
  }

  // MARK: What rings do with it

  /// Adds a packet that was copied to where ``place(headerLength:)`` said.
  @inline(__always) func add(_ slot: Slot) {
    precondition(count < PacketBurst.capacity)
    unsafe slots[count] = slot
    count &+= 1
    if slot.outcome != .oversized { take(upTo: slot.start &+ slot.length) }
  }

  /// Takes note that a packet's header is wrong.
  package func markInvalid(_ index: Int) {
    precondition(index >= 0 && index < count)
    unsafe slots[index].outcome = .invalid
  }

  @inline(__always) func setOutcome(_ outcome: Outcome, targetLinks: UInt16, of index: Int) {
    precondition(index >= 0 && index < count)
    unsafe slots[index].outcome = outcome
    unsafe slots[index].targetLinks = targetLinks
  }

  /// Copies what the segments refer to, `count` bytes in all, to where ``place(headerLength:)`` said.
  @inline(__always) func gather(at start: Int, count: Int) {
    precondition(start >= 0 && count <= PacketBurst.maxLength && start + count <= arenaLength)
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

  /// Gives all headers that length, which a ring needs that has another one than where the packets come from; what they
  /// say stays.
  @inline(__always) package func setHeaderLength(_ length: Int) {
    if unsafe length != state.pointee.headerLength { resizeHeaders(length) }
  }

  @inline(never) private func resizeHeaders(_ length: Int) {
    precondition(length >= 0 && length < PacketBurst.lead)
    unsafe state.pointee.headerLength = length
    for i in 0..<count where unsafe slots[i].outcome != .oversized { resizeHeader(of: i) }
  }

  /// Gives the header of a packet, which may have come from another burst, the length of those of this burst.
  func resizeHeader(of index: Int) {
    let slot = self[index]
    let before = slot.headerLength
    let after = unsafe state.pointee.headerLength
    guard before != after else { return }
    let start = slot.payload - after
    // The two overlap.
    unsafe (arena + start).copyMemory(from: arena + slot.start, byteCount: min(before, after))
    if after > before {
      unsafe (arena + start + before).initializeMemory(as: UInt8.self, repeating: 0, count: after - before)
    }
    unsafe slots[index].setHeaderLength(after)
    unsafe slots[index].bytes = UInt32(truncatingIfNeeded: slot.length + after - before)
  }

  /// Makes all headers zero: packets to a guest that has negotiated no offload.
  package func clearHeaders(length: Int) {
    precondition(length >= 0 && length <= PacketBurst.lead)
    for i in 0..<count { clearHeader(of: unsafe slots[i], length: length) }
  }

  @inline(__always) func clearHeader(of index: Int, length: Int) { clearHeader(of: self[index], length: length) }

  @inline(__always) func clearHeader(of slot: Slot, length: Int) {
    guard slot.outcome != .oversized else { return }
    precondition(slot.start >= 0 && slot.start <= arenaLength - PacketBurst.lead)
    let header = unsafe arena + slot.start
    if length == NetHeader.modernLength {
      unsafe header.storeBytes(of: 0, as: UInt64.self)
      unsafe header.storeBytes(of: 0, toByteOffset: 8, as: UInt32.self)
    } else {
      unsafe header.initializeMemory(as: UInt8.self, repeating: 0, count: length)
    }
  }

  /// Forgets what has become of the packets, so that the same ones can be sent again; those that were not copied have
  /// nothing to send and stay ``Outcome/oversized``.
  package func rearm() {
    var slot = unsafe slots
    let end = unsafe slots + count
    while unsafe slot < end {
      unsafe slot.pointee.setPending()
      unsafe slot += 1
    }
  }
}
