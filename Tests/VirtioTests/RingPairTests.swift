import Testing

@testable import Virtio

/// Driver side and device side on the same memory: packets go from one ring to another, at every position, with every
/// combination of features, for more than three laps, in lockstep with the model of either ring.
@Suite struct RingPairTests {
  /// A combination of what can be negotiated.
  struct Negotiated: CustomTestStringConvertible, Sendable {
    var isIndirect: Bool
    var hasEventIndex: Bool
    var isInOrder: Bool
    var isMergeable: Bool

    static let all = (0..<16).map { bits in
      Negotiated(
        isIndirect: bits & 1 != 0, hasEventIndex: bits & 2 != 0, isInOrder: bits & 4 != 0, isMergeable: bits & 8 != 0)
    }
    var features: Features {
      var features: Features = []
      if isIndirect { features.insert(.indirectDescriptors) }
      if hasEventIndex { features.insert(.eventIndex) }
      if isInOrder { features.insert(.inOrder) }
      return features
    }
    var testDescription: String {
      "indirect \(isIndirect), event index \(hasEventIndex), in order \(isInOrder), mergeable \(isMergeable)"
    }
  }

  /// One ring with both sides, and what was given to it.
  private struct Side {
    let raw: RawRing
    let buffers: UInt64
    let negotiated: Negotiated
    var driver: DriverRing
    var device: DeviceRing
    /// Chains that were added and not announced, announced and not returned, returned and not taken back.
    var added: [RawChain] = []
    var given: [RawChain] = []
    var returned: [(id: UInt16, length: Int)] = []
    /// How far the driver has announced, and the device.
    var availPosition: UInt16
    var usedPosition: UInt16
    /// How many chains there were.
    var chains = 0
    var hasAsked = false

    init(_ memory: TestMemory, _ ring: RingCase, at address: UInt64, start: UInt16, _ negotiated: Negotiated) throws {
      raw = RawRing(memory.bytes, ring.format, size: ring.size, at: address, start: start)
      buffers = address + 0x400
      self.negotiated = negotiated
      driver = DriverRing(
        try raw.area(memory.view), features: negotiated.features,
        tables: try IndirectTables(count: ring.size, length: 3, at: address + 0x200, memory: memory.view),
        startingAt: start)
      device = try raw.device(memory, negotiated.features)
      (availPosition, usedPosition) = (start, start)
    }

    /// Where the next chain has its buffer.
    var buffer: UInt64 { buffers + UInt64(chains % raw.size * 64) }

    /// Adds a chain of one piece or more of the next buffer, in the ring or in a table.
    ///
    /// - Returns: Whether there was room for it.
    mutating func add(length: Int, pieces: Int, isWritable: Bool) throws -> Bool {
      let isIndirect = negotiated.isIndirect && chains % 3 != 1
      guard (isIndirect ? 1 : pieces) <= driver.freeCount else { return false }
      var address = buffer
      let cut = DeviceRingTests.cut(length, into: pieces).map { part in
        defer { address += UInt64(part) }
        return DriverRing.Piece(address: address, length: UInt32(part), isWritable: isWritable)
      }
      guard let id = driver.add(cut, isIndirect: isIndirect) else { throw Unmet(description: "no room after all") }
      added.append(RawChain(id: id, descriptors: isIndirect ? 1 : pieces, pieces: DriverBench.raw(cut)))
      chains += 1
      return true
    }

    /// Announces what was added: to be seen by whoever looks at the bytes, and with a kick if the device wants one.
    mutating func publish(_ label: @autoclosure () -> String) throws {
      var observer = RawDevice(raw, at: availPosition)
      try require(observer.fetch() == nil, "announced too early: \(label())")
      let isKicked = driver.publish()
      var steps = 0
      for chain in added {
        try require(observer.fetch() == chain, "\(chain): \(label())")
        steps += raw.steps(chain)
      }
      try require(observer.fetch() == nil, "more than was added: \(label())")
      let isWanted = raw.isWanted(
        raw.kickEvent, from: availPosition, steps: steps, hasEventIndex: negotiated.hasEventIndex)
      try require(isKicked == (steps > 0 && isWanted), "kick \(isKicked): \(label())")
      availPosition = observer.nextAvail
      given += added
      added = []
    }

    /// The device has returned its oldest chains, and calls for them if the driver wants that.
    mutating func use(_ entries: [(id: UInt16, length: Int)], _ label: @autoclosure () -> String) throws {
      let steps = given.prefix(entries.count).reduce(0) { $0 + raw.steps($1) }
      // The first time, somebody else may have left something to call for.
      let isWanted = raw.isWanted(
        raw.callEvent, from: usedPosition, steps: hasAsked ? steps : raw.positions,
        hasEventIndex: negotiated.hasEventIndex)
      let isCalled = device.wantsCall()
      try require(isCalled == isWanted, "call \(isCalled): \(label())")
      hasAsked = true
      usedPosition = raw.next(usedPosition, by: steps)
      try require(device.nextUsed == usedPosition && device.fault == .none, label())
      given.removeFirst(entries.count)
      returned += entries
    }

    /// The driver takes everything back.
    mutating func collect(_ label: @autoclosure () -> String) throws {
      for entry in returned {
        let taken = try driver.collect()
        try require(taken?.head == entry.id && taken.map { Int($0.length) } == entry.length, label())
      }
      let more = try driver.collect()
      try require(more == nil && driver.outstanding == given.count, label())
      let descriptors = given.reduce(0) { $0 + $1.descriptors }
      try require(driver.freeCount == raw.size - descriptors, label())
      returned = []
    }
  }

  @Test(arguments: RingCase.all, Negotiated.all) func packetsGoAround(_ ring: RingCase, _ negotiated: Negotiated) throws
  {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x800), .init(start: 0x2_0000, size: 0x800)])
    let burst = PacketBurst()
    let image = memory.copy()
    for start in ring.starts {
      memory.bytes.fill(seed: UInt64(start))
      var tx = try Side(memory, ring, at: 0x1_0000, start: start, negotiated)
      var rx = try Side(memory, ring, at: 0x2_0000, start: start, negotiated)
      var sent: [[UInt8]] = []
      var received = 0
      var round = 0
      while received < 3 * ring.size + 1 {
        let label = "start \(start) round \(round)"
        try require(round < 40 * ring.size, "no progress: \(label)")
        try give(&tx, &rx, &sent, memory, round: round)
        tx.device.setWantsKicks(round % 2 == 0)
        rx.device.setWantsKicks(round % 4 != 0)
        tx.driver.setWantsCalls(round % 5 != 0, after: 1 + round % 3)
        rx.driver.setWantsCalls(round % 4 != 1, after: 1 + round % 2)
        try tx.publish(label)
        try rx.publish(label)
        image.assign(memory.bytes)
        received += try move(&tx, &rx, sent[received...], memory, image, burst, limit: 1 + round % 4, label)
        if round % 2 == 1 || tx.driver.freeCount == 0 || rx.driver.freeCount == 0 {
          try tx.collect(label)
          try rx.collect(label)
        }
        round += 1
      }
    }
  }

  /// The drivers: packets into one ring, buffers into the other, one of each or as many as there is room for.
  private func give(
    _ tx: inout Side, _ rx: inout Side, _ sent: inout [[UInt8]], _ memory: TestMemory, round: Int
  ) throws {
    let size = tx.raw.size
    var added = 0
    while round % 3 != 1 || added == 0 {
      let buffer = tx.buffer
      let length = 12 + tx.chains * 7 % 40
      guard try tx.add(length: length, pieces: min(1 + tx.chains % 3, size), isWritable: false) else { break }
      let from = tx.chains * 13 % 256
      sent.append(Array(DeviceRingTests.pattern[from..<from + length]))
      memory.write(buffer, sent[sent.count - 1])
      added += 1
    }
    // Where buffers are merged there is room for two of them, and two hold every packet.
    let isMerged = tx.negotiated.isMergeable && size > 1
    added = 0
    while round % 3 != 2 || added == 0 {
      let pieces = min(1 + rx.chains % 3, isMerged ? max(size / 2, 1) : size)
      guard try rx.add(length: isMerged ? 30 : 52, pieces: pieces, isWritable: true) else { break }
      added += 1
    }
  }

  /// The device: some packets from one ring to the other, the rest given back; all of memory as the models say.
  ///
  /// - Returns: How many packets were moved.
  private func move(
    _ tx: inout Side, _ rx: inout Side, _ sent: ArraySlice<[UInt8]>, _ memory: TestMemory, _ image: GuestBytes,
    _ burst: PacketBurst, limit: Int, _ label: @autoclosure () -> String
  ) throws -> Int {
    burst.clear()
    let pending = tx.device.pending()
    try require(pending == tx.given.count, "\(pending) pending: \(label())")
    let taken = tx.device.dequeueBurst(into: burst, limit: limit, memory: memory.view, headerLength: 12)
    try require(taken == min(pending, limit), "\(taken) taken: \(label())")
    for i in 0..<taken { try require(burst.bytes(i) == sent[sent.startIndex + i], "packet \(i): \(label())") }
    try requireSame(memory, image, "taking writes nothing: \(label())")
    burst.clearHeaders(length: 12)
    let isMergeable = tx.negotiated.isMergeable
    let moved = rx.device.enqueueBurst(
      from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: isMergeable)
    tx.device.complete(burst, first: 0, count: moved)
    tx.device.giveBack(burst, first: moved)

    var from = RingModel(tx.raw, at: tx.usedPosition, chains: tx.given, image: image)
    var to = RingModel(rx.raw, at: rx.usedPosition, chains: rx.given, image: image)
    var expected = 0
    for packet in sent.prefix(taken) {
      let outcome = to.send(Array(packet.dropFirst(12)), headerLength: 12, mergeable: isMergeable)
      try require(outcome != .undeliverable, label())
      guard outcome == .delivered else { break }
      expected += 1
    }
    from.useRead(expected, isInOrder: tx.negotiated.isInOrder)
    try require(moved == expected, "\(moved) of \(expected) moved: \(label())")
    try requireSame(memory, image, "\(moved) moved: \(label())")
    try tx.use(tx.given.prefix(moved).map { ($0.id, 0) }, label())
    try rx.use(to.returned, label())
    return moved
  }
}
