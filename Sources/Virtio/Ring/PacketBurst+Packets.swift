extension PacketBurst {
  // MARK: Looking at packets

  /// Whether there is no room for another packet.
  @inlinable public var isFull: Bool { count == PacketBurst.capacity }

  /// The longest payload that a packet of this burst can have, in bytes.
  public var maxPayloadLength: Int { pool?.payloadLength ?? PacketBurst.maxPayloadLength }

  /// The length of a packet's payload in bytes.
  @inlinable public func payloadLength(of index: Int) -> Int {
    let slot = self[index]
    return max(slot.length &- slot.headerLength, 0)
  }

  /// Works on a packet's payload in place.
  ///
  /// - Parameters:
  ///   - index: Which packet.
  ///   - body: Is lent the payload; it does nothing else with the burst meanwhile.
  @inlinable public func withPayload<R, E: Error>(
    of index: Int, _ body: (inout MutableSpan<UInt8>) throws(E) -> R
  ) throws(E) -> R {
    let slot = self[index]
    return try withBytes(at: slot.payload, count: max(slot.length &- slot.headerLength, 0), body)
  }

  /// Works on a packet's payload in place.
  @inlinable package func withPayload<R>(
    _ index: Int, headerLength: Int, _ body: (inout MutableSpan<UInt8>) -> R
  ) -> R {
    let slot = self[index]
    return withBytes(at: slot.start + headerLength, count: max(slot.length - headerLength, 0), body)
  }

  /// Lends out a part of the arena that a packet has.
  @inlinable func withBytes<R, E: Error>(
    at start: Int, count: Int, _ body: (inout MutableSpan<UInt8>) throws(E) -> R
  ) throws(E) -> R {
    let bytes = unsafe UnsafeMutableBufferPointer(
      start: (arena + start).assumingMemoryBound(to: UInt8.self), count: count)
    var span = unsafe bytes.mutableSpan
    return try body(&span)
  }

  /// The header in front of a packet, as it came (virtio 1.2, §5.1.6).
  public func header(of index: Int) -> NetHeader {
    let slot = self[index]
    let length = slot.headerLength
    guard length >= NetHeader.legacyLength else { return NetHeader() }
    return withBytes(at: slot.start, count: length) { NetHeader(decoding: $0.span, length: length) }
  }

  /// Writes the header in front of a packet. A guest that has accepted no offloads gets a header of zeros, whatever is
  /// written here.
  public func setHeader(_ header: NetHeader, of index: Int) {
    let slot = self[index]
    let length = slot.headerLength
    guard length >= NetHeader.legacyLength else { return }
    withBytes(at: slot.start, count: length) { header.encode(into: &$0, length: length) }
  }

  /// Makes a packet's payload shorter.
  ///
  /// - Parameters:
  ///   - index: Which packet.
  ///   - length: In bytes; no more than it has.
  public func truncate(_ index: Int, to length: Int) {
    precondition(length >= 0 && length <= payloadLength(of: index))
    let slot = self[index]
    // It has no place, so not even a header's bytes.
    guard slot.outcome != .oversized else { return }
    unsafe slots[index].bytes = UInt32(truncatingIfNeeded: slot.headerLength + length)
  }

  // MARK: Adding packets

  /// Adds a packet with a header that is all zero.
  ///
  /// - Parameters:
  ///   - length: The payload in bytes.
  ///   - fill: Writes the payload: all of it, for in there are still bytes of packets that are gone.
  /// - Returns: Whether there was room: a slot, a place in the arena, and one that is long enough.
  @discardableResult
  public func append(length: Int, _ fill: (inout MutableSpan<UInt8>) -> Void) -> Bool {
    let headerLength = unsafe state.pointee.headerLength
    guard length >= 0, !isFull, length <= limit(headerLength: headerLength) - headerLength,
      let start = place(headerLength: headerLength)
    else { return false }
    unsafe (arena + start).initializeMemory(as: UInt8.self, repeating: 0, count: headerLength)
    withBytes(at: start + headerLength, count: length, fill)
    add(Slot(payload: start + headerLength, headerLength: headerLength, length: headerLength + length))
    return true
  }

  /// Adds a packet with those bytes as payload, and a header that is all zero.
  ///
  /// - Returns: Whether there was room.
  @discardableResult package func append(_ payload: [UInt8]) -> Bool {
    append(length: payload.count) { span in
      for (i, byte) in payload.enumerated() { span[i] = byte }
    }
  }

  /// Adds a packet that the device itself has made.
  ///
  /// - Parameters:
  ///   - length: Its payload in bytes.
  ///   - headerLength: The header's length in bytes, from here on of all packets; the header is all zero.
  ///   - fill: Writes the payload.
  /// - Returns: Whether there was room.
  package func append(length: Int, headerLength: Int, _ fill: (inout MutableSpan<UInt8>) -> Void) -> Bool {
    setHeaderLength(headerLength)
    return append(length: length, fill)
  }

  /// Adds a copy of a packet of another burst, or of this one, with its header.
  ///
  /// - Returns: Whether there was room: a slot, a place in the arena, and one that is long enough.
  @discardableResult
  public func append(copyOf index: Int, from other: PacketBurst) -> Bool {
    let header = other.header(of: index)
    let slot = other[index]
    let length = other.payloadLength(of: index)
    let from = unsafe UnsafeRawPointer(other.arena + slot.payload)
    let isAdded = append(length: length) { payload in
      unsafe payload.withUnsafeMutableBytes { to in
        if let start = to.baseAddress { unsafe start.copyMemory(from: from, byteCount: length) }
      }
    }
    if isAdded { setHeader(header, of: count - 1) }
    return isAdded
  }

  // MARK: Moving and dropping packets

  /// Moves packets to the end of another burst, in order, until that one is full. Between bursts on one pool their buffers
  /// change hands; to any other burst they are copied.
  ///
  /// - Parameters:
  ///   - other: Where to; not this burst.
  ///   - isIncluded: Whether a packet is to be moved; all are unless said otherwise.
  /// - Returns: How many were moved. The others stay, in order.
  @discardableResult @inlinable public func move(
    to other: PacketBurst, where isIncluded: (Int) -> Bool = { _ in true }
  ) -> Int {
    precondition(other !== self)
    let isShared = pool != nil && pool === other.pool
    var kept = 0
    var moved = 0
    for i in 0..<count {
      if isIncluded(i) && (isShared ? other.take(unsafe slots[i]) : copy(i, to: other)) {
        moved += 1
        continue
      }
      unsafe slots[kept] = slots[i]
      kept += 1
    }
    keep(kept)
    return moved
  }

  /// Takes a packet over with its buffer.
  ///
  /// - Returns: Whether there was room.
  @usableFromInline func take(_ slot: Slot) -> Bool {
    guard !isFull else { return false }
    let index = count
    unsafe slots[index] = slot
    unsafe slots[index].outcome = slot.outcome == .oversized ? .oversized : .pending
    count = index + 1
    if slot.outcome != .oversized { resizeHeader(of: index) }
    return true
  }

  /// Copies a packet that is to go from here afterwards.
  ///
  /// - Returns: Whether there was room.
  @usableFromInline func copy(_ index: Int, to other: PacketBurst) -> Bool {
    guard other.append(copyOf: index, from: self) else { return false }
    drop(self[index])
    return true
  }

  /// Keeps the packets for which `isIncluded` holds, in order, and drops the others.
  @inlinable public func filter(_ isIncluded: (Int) -> Bool) {
    var kept = 0
    for i in 0..<count {
      if isIncluded(i) {
        unsafe slots[kept] = slots[i]
        kept += 1
      } else {
        drop(unsafe slots[i])
      }
    }
    keep(kept)
  }

  /// Drops the last `count` packets.
  public func removeLast(_ count: Int) {
    precondition(count >= 0 && count <= self.count)
    let kept = self.count - count
    filter { $0 < kept }
  }

  /// Drops the first `count` packets; those behind them move up.
  public func removeFirst(_ count: Int) {
    precondition(count >= 0 && count <= self.count)
    if count == self.count { return clear() }
    filter { $0 >= count }
  }
}
