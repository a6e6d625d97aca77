internal import CLinux

extension DeviceRing {
  /// Takes packets as long as each is a single descriptor and all of it in one range of memory. The first other one, and
  /// whatever is wrong with it, is for the general walk.
  ///
  /// First all descriptors are read, then what they point to is looked up and its memory asked for, and in the end all are
  /// copied in one go: each loop has what it needs in registers, and the copies wait for memory together and not one after
  /// the other.
  ///
  /// - Parameter most: How many chains are known to be there; a packed ring shows that with each of them.
  /// - Returns: How many were taken.
  @inline(__always) func takeRun<A: RingArea>(
    _ area: A, from position: inout UInt16, most: Int, into burst: PacketBurst, memory: MemoryView, headerLength: Int,
    longest: Int, keepsHeaders: Bool
  ) -> Int {
    burst.pool == nil
      ? takeRun(
        area, from: &position, most: most, into: burst, burst.arenaPlaces, memory: memory, headerLength: headerLength,
        longest: longest, keepsHeaders: keepsHeaders)
      : takeRun(
        area, from: &position, most: most, into: burst, burst.pooledPlaces, memory: memory, headerLength: headerLength,
        longest: longest, keepsHeaders: keepsHeaders)
  }

  @inline(__always) private func takeRun<A: RingArea, Places: PacketPlaces>(
    _ area: A, from position: inout UInt16, most: Int, into burst: PacketBurst, _ start: Places, memory: MemoryView,
    headerLength: Int, longest: Int, keepsHeaders: Bool
  ) -> Int {
    let rest = area.stretch(from: position)
    let most = max(min(most, min(rest.count, PacketBurst.capacity &- burst.count)), 0)
    let run = burst.beginRun(first: burst.count, most: most)
    let longest = UInt(bitPattern: longest &- headerLength)
    var (taken, places) = (0, start)
    while true {
      let sure = places.room(packets: most &- taken, bytes: longest)
      let (left, progress) = rest.dropFirst(taken).findSources(
        of: run.dropFirst(taken).prefix(sure.packets), in: memory.table, headerLength: headerLength, room: sure.bytes,
        places: places)
      taken &+= sure.packets &- left
      places.progress = progress
      guard taken < most, places.hasPlace, let chain = rest.single(taken, isWritable: false) else { break }
      let length = Int(chain.length)
      guard UInt(bitPattern: length &- headerLength) <= longest,
        let host = memory.table.whole(at: chain.address, length: length, for: .read)
      else { break }
      run[taken].setTaken(chain, from: host, line: places.line, fate: PacketBurst.Slot.fate(headerLength: headerLength))
      places.advance(headerLength: headerLength, length: length)
      taken &+= 1
    }
    position = area.advance(position, steps: taken)
    burst.take(taken, places, headerLength: headerLength, keepsHeaders: keepsHeaders)
    return taken
  }

  /// Gives packets as long as each fits into a single descriptor that is all in one range of memory; they are announced
  /// with the rest.
  ///
  /// - Returns: How many were given.
  @inline(__always) mutating func giveRun<A: RingArea>(
    _ area: A, _ burst: PacketBurst, first: Int, most: Int, memory: MemoryView, headerLength: Int,
    notes: some WriteNotes
  ) -> Int {
    let (available, returned) = (area.stretch(from: nextAvail), area.stretch(from: nextUsed))
    let most = max(min(min(most, burst.count &- first), min(available.count, returned.count)), 0)
    let all = burst.beginRun(first: first, most: most)
    let run = all.prefix(available.readTargets(of: all, headerLength: headerLength))
    let pending = unpublished
    var given = 0
    while given < run.most {
      let (address, length) = (run[given].guestAddress, run[given].length)
      guard
        let host = memory.table.likely(at: address, length: length, for: .write)
          ?? memory.table.whole(at: address, length: length, for: .write)
      else { break }
      returned.writeUsed(
        given, id: run[given].target, length: run[given].bytes, isWritten: true, isFirst: pending &+ given == 0)
      run[given].setDelivered(headerLength: headerLength, to: host)
      given &+= 1
      given &+= returned.dropFirst(given).use(run.dropFirst(given), in: memory.table, headerLength: headerLength)
    }
    guard given > 0 else { return 0 }
    if pending == 0 { firstUnpublished = (nextUsed, run[0].bytes) }
    unpublished = pending &+ given
    nextUsed = area.advance(nextUsed, steps: given)
    nextAvail = area.advance(nextAvail, steps: given)
    burst.give(first: first, count: given, headerLength: headerLength)
    // After it was written: whoever copies what is noted may do so at once.
    for i in 0..<given { run[i].note(in: notes) }
    return given
  }
}

// MARK: The loops

// Each is a function of its own that is called once a burst and calls nothing: so all that it needs stays in registers.

extension RingStretch {
  /// Reads the chains that packets come in, for each of which there is a place, and finds where they are.
  ///
  /// - Parameter room: The longest payload.
  /// - Returns: How many are left, the first of which is no single descriptor, or longer, or has to be looked for; and how
  ///   far places were taken.
  @inline(never) fileprivate func findSources<Places: PacketPlaces>(
    of run: PacketBurst.Run, in table: AddressTable.Lookup, headerLength: Int, room: UInt, places: Places
  ) -> (left: Int, progress: Int) {
    let fate = PacketBurst.Slot.fate(headerLength: headerLength)
    var (ring, rest, next) = (prefix(run.most), run, places)
    while rest.most > 0, let chain = ring.single(0, isWritable: false) {
      let length = Int(chain.length)
      guard UInt(bitPattern: length &- headerLength) <= room,
        let host = table.likely(at: chain.address, length: length, for: .read)
      else { break }
      prefetch(at: host, headerLength)
      rest[0].setTaken(chain, from: host, line: next.line, fate: fate)
      next.advance(headerLength: headerLength, length: length)
      (ring, rest) = (ring.dropFirst(1), rest.dropFirst(1))
    }
    return (rest.most, next.progress)
  }

  /// Reads the chains that packets go to.
  ///
  /// - Returns: How many there are in front of the first that is no single descriptor, or in which the packet has no room.
  @inline(never) fileprivate func readTargets(of run: PacketBurst.Run, headerLength: Int) -> Int {
    let ring = prefix(run.most)
    var found = 0
    while found < run.most, let chain = ring.single(found, isWritable: true) {
      let length = run[found].length
      assert(length == 0 || length >= headerLength)
      // One that was too long has no length, and less 1 more than any buffer.
      guard UInt(chain.length) > UInt(bitPattern: length &- 1) else { break }
      run[found].setTarget(chain)
      found &+= 1
    }
    return found
  }

  /// Finds where packets go, and writes that their chains were used, none of them the first that is to be announced.
  ///
  /// - Returns: How many there are in front of the first that has to be looked for.
  @inline(never) fileprivate func use(
    _ run: PacketBurst.Run, in table: AddressTable.Lookup, headerLength: Int
  ) -> Int {
    let ring = prefix(run.most)
    var given = 0
    while given < run.most {
      let length = run[given].bytes
      guard let host = table.likely(at: run[given].guestAddress, length: Int(length), for: .write) else { break }
      prefetch(at: host)
      prefetchToWrite(at: host, headerLength)
      ring.writeUsed(given, id: run[given].target, length: length, isWritten: true, isFirst: false)
      run[given].setDelivered(headerLength: headerLength, to: host)
      given &+= 1
    }
    return given
  }

  /// Writes that the chains of packets were used, nothing of them written, up to the stretch's end. None of them is the first
  /// that is to be announced.
  ///
  /// - Parameter start: Where to begin; behind the stretch's end if a chain goes on at the ring's beginning.
  /// - Returns: How many there was a place for, and where the next one goes.
  @inline(never) func complete(_ packets: PacketBurst.Run, from start: Int) -> (count: Int, end: Int) {
    var (ring, rest) = (self, packets)
    ring.advance(by: start)
    if !Self.isSequential {
      let most = min(packets.most, ring.count)
      for i in 0..<most { ring.writeUsed(i, id: packets[i].id, length: 0, isWritten: false, isFirst: false) }
      return (most, start &+ most)
    }
    while rest.most > 0 && ring.count > 0 {
      ring.writeUsed(0, id: rest[0].id, length: 0, isWritten: false, isFirst: false)
      ring.advance(by: Int(rest[0].descriptors))
      rest = rest.dropFirst(1)
    }
    return (packets.most &- rest.most, count &- ring.count)
  }
}

/// Asks for memory of this process.
@inline(__always) private func prefetch(at host: UInt64, _ offset: Int = 0) {
  unsafe clinux_prefetch(UnsafeRawPointer(bitPattern: UInt(host) &+ UInt(bitPattern: offset)))
}
@inline(__always) private func prefetchToWrite(at host: UInt64, _ offset: Int) {
  unsafe clinux_prefetch_to_write(UnsafeRawPointer(bitPattern: UInt(host) &+ UInt(bitPattern: offset)))
}
