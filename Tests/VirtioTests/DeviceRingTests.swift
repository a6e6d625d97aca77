import Testing

@testable import Virtio

/// Small rings exhaustively: bursts of the device side against a driver and a model written from the specification,
/// all of memory compared after every step.
@Suite struct DeviceRingTests {
  /// Where the buffers of a test are, one packet's after the other's.
  enum Placement: CaseIterable {
    case inside, acrossRegions, endOfAddresses

    /// The address of the first of `total` bytes, of which `packet` are the first packet's.
    func address(total: Int, packet: Int) -> UInt64 {
      switch self {
      case .inside: SmallMemory.buffers
      // The border of the regions is in the middle of the first packet's buffers.
      case .acrossRegions: SmallMemory.bufferBorder - UInt64(packet / 2)
      case .endOfAddresses: UInt64.max - UInt64(total)
      }
    }
  }

  /// Cuts of a length into one to three descriptors, inside the header and around its end, with empty ones.
  static func cuts(of length: Int, headerLength: Int) -> [[Int]] {
    let points = Set([0, headerLength - 1, headerLength, headerLength + 1, length])
      .filter { $0 >= 0 && $0 <= length }.sorted()
    var found: Set = [[length]]
    for (i, first) in points.enumerated() {
      found.insert([first, length - first])
      for second in points[i...] { found.insert([first, second - first, length - second]) }
    }
    return found.sorted { $0.lexicographicallyPrecedes($1) }
  }

  /// A plain cut.
  static func cut(_ length: Int, into pieces: Int) -> [Int] {
    (0..<pieces).map { i in i == pieces - 1 ? length - (pieces - 1) * (length / pieces) : length / pieces }
  }

  /// Where payload comes from.
  static let pattern = (0..<512).map { UInt8(truncatingIfNeeded: 7 &* $0 &+ 3) }

  /// The feature combinations that matter for a chain of a form.
  static func features(_ form: ChainForm) -> [Features] {
    let indirect: [Features] = [[.indirectDescriptors], [.indirectDescriptors, .eventIndex]]
    return form.isDirect ? [[], [.eventIndex]] + indirect : indirect
  }

  /// What one run of a test needs.
  struct Bench {
    let ring: RingCase
    let memory: TestMemory
    let burst = PacketBurst()
    let pristine: GuestBytes
    /// Memory with the chains in it, and the model's.
    let filled: GuestBytes
    let image: GuestBytes

    init(_ ring: RingCase) throws {
      self.ring = ring
      memory = try TestMemory(SmallMemory.places)
      pristine = memory.copy()
      filled = memory.copy()
      image = memory.copy()
    }

    /// A ring in new memory with so many chains of equal cuts, one behind the other.
    func fill(
      start: UInt16, _ form: ChainForm, cut: [Int], count: Int, at first: UInt64, isWritable: Bool
    ) -> (RawRing, [RawChain]) {
      memory.restore(pristine)
      let raw = RawRing.fresh(memory, ring, start: start)
      var driver = RawDriver(raw, rotation: Int(start % 5))
      var address = first
      var chains: [RawChain] = []
      for i in 0..<count {
        let pieces = cut.map { part in
          defer { address &+= UInt64(part) }
          return RawPiece(address: address, length: UInt32(part), isWritable: isWritable)
        }
        chains.append(driver.add(pieces, form.raw(i)))
      }
      filled.assign(memory.bytes)
      return (raw, chains)
    }
  }

  // MARK: From the guest

  @Test(arguments: RingCase.all) func dequeueAtEveryPosition(_ ring: RingCase) throws {
    let bench = try Bench(ring)
    for start in ring.starts {
      for pieces in 1...3 {
        for form in ChainForm.all(pieces: pieces, ring) {
          let cut = Self.cut(17, into: pieces)
          for count in 1...ring.size / form.descriptors {
            let (raw, chains) = bench.fill(
              start: start, form, cut: cut, count: count, at: SmallMemory.buffers, isWritable: false)
            for features in Self.features(form) {
              for returned in 0...count {
                try take(
                  bench, raw, chains, returned: returned, headerLength: 12, features,
                  "start \(start) \(form) \(count) chains \(features)")
              }
            }
          }
        }
      }
    }
  }

  @Test(arguments: RingCase.all, [10, 12]) func dequeueEveryCut(_ ring: RingCase, headerLength: Int) throws {
    let bench = try Bench(ring)
    for (s, start) in ring.fewStarts.enumerated() {
      for length in [headerLength, headerLength + 1, headerLength + 5] {
        for (c, cut) in Self.cuts(of: length, headerLength: headerLength).enumerated() {
          for form in ChainForm.all(pieces: cut.count, ring, tables: [ChainForm.Table.allCases[c % 3]]) {
            let count = min(ring.size / form.descriptors, 3)
            for (p, placement) in Placement.allCases.enumerated() {
              let address = placement.address(total: length * count, packet: length)
              let (raw, chains) = bench.fill(
                start: start, form, cut: cut, count: count, at: address, isWritable: false)
              try take(
                bench, raw, chains, returned: (s + p + length) % (count + 1), headerLength: headerLength,
                .indirectDescriptors, "start \(start) cut \(cut) \(form) \(placement)")
            }
          }
        }
      }
    }
  }

  /// Takes all, returns some, gives the rest back, takes the rest again, returns it.
  private func take(
    _ bench: Bench, _ raw: RawRing, _ chains: [RawChain], returned: Int, headerLength: Int, _ features: Features,
    _ label: @autoclosure () -> String
  ) throws {
    let (memory, burst, count) = (bench.memory, bench.burst, chains.count)
    memory.restore(bench.filled)
    bench.image.assign(bench.filled)
    var model = RingModel(raw, chains: chains, image: bench.image)
    var device = try raw.device(memory, features)
    func take(_ expected: Int) throws {
      burst.clear()
      try require(device.pending() == expected, label())
      let taken = device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: headerLength)
      try require(taken == expected && burst.count == expected && device.pending() == 0, label())
      for i in 0..<expected {
        let packet = model.packet(i)
        let (slot, chain) = (burst[i], model.chains[i])
        try require(slot.outcome == .pending && slot.length == packet.count, label())
        try require(slot.id == chain.id && Int(slot.descriptors) == chain.descriptors, label())
        try require(burst.bytes(i) == packet, label())
      }
    }
    try take(count)
    try requireSame(memory, model.image, "taking writes nothing: \(label())")
    device.complete(burst, first: 0, count: returned)
    for _ in 0..<returned { model.use(length: 0) }
    try requireSame(memory, model.image, "\(returned) of \(count): \(label())")
    device.giveBack(burst, first: returned)
    try take(count - returned)
    device.complete(burst, first: 0, count: count - returned)
    for _ in returned..<count { model.use(length: 0) }
    try requireSame(memory, model.image, "all: \(label())")
    for isWanted in [false, true] {
      device.setWantsKicks(isWanted)
      model.device.setWantsKicks(isWanted, hasEventIndex: features.contains(.eventIndex))
      try requireSame(memory, model.image, "kicks \(isWanted): \(label())")
    }
    let end = model.device.nextUsed
    try require(device.nextAvail == end && device.nextUsed == end && device.fault == .none, label())
  }

  // MARK: To the guest

  @Test(arguments: RingCase.all) func enqueueAtEveryPosition(_ ring: RingCase) throws {
    let bench = try Bench(ring)
    for start in ring.starts {
      for pieces in 1...3 {
        for form in ChainForm.all(pieces: pieces, ring) {
          let capacity = 21
          for count in 1...ring.size / form.descriptors {
            let (raw, chains) = bench.fill(
              start: start, form, cut: Self.cut(capacity, into: pieces), count: count, at: SmallMemory.buffers,
              isWritable: true)
            for length in [12, capacity, 2 * capacity, 2 * capacity + 1, count * capacity + 1] {
              for mergeable in [false, true] {
                try send(
                  bench, raw, chains, length: length, headerLength: 12, mergeable: mergeable,
                  "start \(start) \(form) \(count) chains length \(length) mergeable \(mergeable)")
              }
            }
          }
        }
      }
    }
  }

  @Test(arguments: RingCase.all, [10, 12]) func enqueueEveryCut(_ ring: RingCase, headerLength: Int) throws {
    let bench = try Bench(ring)
    for start in ring.fewStarts {
      for capacity in [headerLength, headerLength + 9] {
        for (c, cut) in Self.cuts(of: capacity, headerLength: headerLength).enumerated() {
          for form in ChainForm.all(pieces: cut.count, ring, tables: [ChainForm.Table.allCases[c % 3]]) {
            let count = min(ring.size / form.descriptors, 2)
            for placement in Placement.allCases {
              let address = placement.address(total: capacity * count, packet: capacity)
              let (raw, chains) = bench.fill(
                start: start, form, cut: cut, count: count, at: address, isWritable: true)
              // Around one and both of the buffers.
              for length in Set(
                [headerLength] + [1, 2].flatMap { [$0 * capacity - 1, $0 * capacity, $0 * capacity + 1] })
              where length >= headerLength {
                for mergeable in [false, true] {
                  try send(
                    bench, raw, chains, length: length, headerLength: headerLength, mergeable: mergeable,
                    "start \(start) cut \(cut) \(form) \(placement) length \(length) mergeable \(mergeable)")
                }
              }
            }
          }
        }
      }
    }
  }

  /// Sends three packets of one length and compares memory and outcomes with the model.
  private func send(
    _ bench: Bench, _ raw: RawRing, _ chains: [RawChain], length: Int, headerLength: Int, mergeable: Bool,
    _ label: @autoclosure () -> String
  ) throws {
    let (memory, burst) = (bench.memory, bench.burst)
    memory.restore(bench.filled)
    bench.image.assign(bench.filled)
    var model = RingModel(raw, chains: chains, image: bench.image)
    var device = try raw.device(memory, .indirectDescriptors)
    burst.clear()
    var expected: [PacketBurst.Outcome] = []
    for i in 0..<3 {
      let payload = Array(Self.pattern[31 * i..<31 * i + length - headerLength])
      try require(burst.append(payload, headerLength: headerLength), label())
      if expected.last != .pending {
        expected.append(model.send(payload, headerLength: headerLength, mergeable: mergeable))
      }
    }
    let taken = device.enqueueBurst(
      from: burst, first: 0, memory: memory.view, headerLength: headerLength, mergeable: mergeable)
    expected.removeAll { $0 == .pending }
    try require(taken == expected.count, "\(taken) taken: \(label())")
    for i in 0..<3 { try require(burst[i].outcome == (i < taken ? expected[i] : .pending), label()) }
    try requireSame(memory, model.image, label())
    let end = model.device.nextUsed
    try require(device.nextUsed == end && device.nextAvail == end && device.fault == .none, label())
  }
}
