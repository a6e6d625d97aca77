/// A bounded queue of packets in buffers of a pool: packets of one burst go in, and come out into another one, without being
/// copied.
///
/// It belongs to one thread at a time. Nothing here allocates after it was made.
@safe package struct PacketQueue: ~Copyable, Sendable {
  /// Whose buffers the packets are in.
  package let pool: PacketPool
  /// The most packets.
  package let capacity: Int
  /// How many packets there are.
  package private(set) var count = 0
  // Made and freed with this value, which cannot be copied; a slot counts while it is one of `count` from `first` on.
  nonisolated(unsafe) private let slots: UnsafeMutablePointer<PacketBurst.Slot>
  private var first = 0

  /// An empty queue.
  ///
  /// - Parameter capacity: The most packets, at least 1.
  package init(_ pool: PacketPool, capacity: Int) {
    precondition(capacity > 0)
    self.pool = pool
    self.capacity = capacity
    unsafe slots = .allocate(capacity: capacity)
    unsafe slots.initialize(repeating: PacketBurst.Slot(), count: capacity)
  }

  deinit {
    for i in 0..<count { unsafe PacketQueue.free(slots[(first + i) % capacity], pool) }
    unsafe slots.deallocate()
  }

  /// Takes a packet with its buffer out of a burst on the same pool. The burst keeps its place, without a packet in it.
  ///
  /// - Returns: Whether there was room, and a packet.
  @inline(__always) package mutating func take(_ index: Int, of burst: PacketBurst) -> Bool {
    precondition(burst.pool === pool)
    guard count < capacity, let slot = burst.takeOut(index) else { return false }
    var place = first &+ count
    if place >= capacity { place &-= capacity }
    unsafe slots[place] = slot
    count &+= 1
    return true
  }

  /// Moves packets to the end of a burst on the same pool, in order, until that is full.
  ///
  /// - Parameter limit: The most packets to move.
  /// - Returns: How many were moved.
  package mutating func move(to burst: PacketBurst, limit: Int) -> Int {
    precondition(burst.pool === pool)
    var moved = 0
    while moved < limit, count > 0, burst.take(unsafe slots[first]) {
      first = first &+ 1 == capacity ? 0 : first &+ 1
      count &-= 1
      moved &+= 1
    }
    return moved
  }

  /// Drops all packets.
  package mutating func removeAll() {
    for i in 0..<count { unsafe PacketQueue.free(slots[(first + i) % capacity], pool) }
    count = 0
  }

  private static func free(_ slot: PacketBurst.Slot, _ pool: PacketPool) {
    var line = UInt32(truncatingIfNeeded: slot.payload / PacketPool.line)
    unsafe pool.give(1, from: &line)
  }
}

extension PacketBurst {
  /// Takes a packet with its buffer out. The place stays, as that of a packet which was never copied.
  ///
  /// - Returns: nil when there is no packet.
  @inline(__always) fileprivate func takeOut(_ index: Int) -> Slot? {
    let slot = self[index]
    guard slot.outcome != .oversized else { return nil }
    unsafe slots[index].setOversized()
    return slot
  }

  /// Adds a packet that is read from somewhere with its header, of the length that this burst's headers have.
  ///
  /// - Parameter read: Is lent the room for header and payload, and returns how many bytes of both it has written.
  /// - Returns: What `read` has returned; with fewer bytes than a header nothing was added. Without room nothing is read,
  ///   and nil returned.
  package func append(reading read: (UnsafeMutableRawBufferPointer) -> Int) -> Int? {
    let headerLength = unsafe state.pointee.headerLength
    guard !isFull, let start = place(headerLength: headerLength) else { return nil }
    let room = limit(headerLength: headerLength)
    let count = unsafe read(UnsafeMutableRawBufferPointer(start: arena + start, count: room))
    precondition(count <= room)
    if count >= headerLength { add(Slot(payload: start + headerLength, headerLength: headerLength, length: count)) }
    return count
  }
}
