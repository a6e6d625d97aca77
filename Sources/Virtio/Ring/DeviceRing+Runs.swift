internal import CLinux

extension DeviceRing {
  /// Takes packets as long as each is a single descriptor and all of it in one range of memory. The first other one, and
  /// whatever is wrong with it, is for the general walk.
  ///
  /// What is looked up of each is noted, and its memory asked for; in the end all are copied in one go. So the copies wait
  /// for memory together and not one after the other.
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
    let ring = rest.prefix(most)
    let run = burst.beginRun(first: burst.count, most: most)
    let skipped = keepsHeaders ? 0 : headerLength
    let room = longest &- headerLength
    let fate = PacketBurst.Slot.fate(headerLength: headerLength)
    let table = memory.table
    var places = start
    var taken = 0
    while taken < most && places.hasPlace {
      guard let chain = ring.single(taken, isWritable: false) else { break }
      let length = Int(chain.length)
      guard UInt(bitPattern: length &- headerLength) <= UInt(bitPattern: room),
        let host = unsafe table.whole(at: chain.address, length: length, for: .read)
      else { break }
      unsafe clinux_prefetch(host + skipped)
      run.set(
        taken,
        unsafe PacketBurst.Slot(
          line: places.line, length: chain.length, position: ring.position(taken), id: chain.id, fate: fate, from: host)
      )
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
    let (ring, used) = (available.prefix(most), returned.prefix(most))
    let run = burst.beginRun(first: first, most: most)
    let table = memory.table
    let pending = unpublished
    var given = 0
    while given < most {
      let slot = run[given]
      let length = slot.length
      guard !slot.isOversized, let chain = ring.single(given, isWritable: true), length >= headerLength,
        Int(chain.length) >= length,
        let host = unsafe table.whole(at: chain.address, length: length, for: .write)
      else { break }
      unsafe clinux_prefetch(host)
      unsafe clinux_prefetch_to_write(host + headerLength)
      unsafe run.deliver(given, to: host, headerLength: headerLength)
      used.writeUsed(
        given, id: chain.id, length: UInt32(truncatingIfNeeded: length), isFirst: pending &+ given == 0)
      given &+= 1
    }
    guard given > 0 else { return 0 }
    if pending == 0 { firstUnpublished = (nextUsed, UInt32(truncatingIfNeeded: run[0].length)) }
    unpublished = pending &+ given
    nextUsed = area.advance(nextUsed, steps: given)
    nextAvail = area.advance(nextAvail, steps: given)
    burst.give(first: first, count: given, headerLength: headerLength)
    // After it was written: whoever copies what is noted may do so at once.
    for i in 0..<given { run[i].note(in: notes) }
    return given
  }
}
