import Testing

@testable import Virtio

/// Chains that stay with the device one by one and come back in any order.
@Suite struct DeviceRingChainTests {
  /// All orders of a number of things.
  static func permutations(_ count: Int) -> [[Int]] {
    if count == 0 { return [[]] }
    return permutations(count - 1).flatMap { rest in
      (0...rest.count).map { i in Array(rest[..<i]) + [count - 1] + Array(rest[i...]) }
    }
  }

  /// What is given to a small ring: as many of each form as it holds, and some of each.
  static func plans(_ ring: RingCase) -> [[ChainForm]] {
    let forms = [
      ChainForm(pieces: 1, direct: 1), ChainForm(pieces: 2, direct: 2), ChainForm(pieces: 3, direct: 0),
      ChainForm(pieces: 3, direct: 3),
    ]
    var plans = forms.map { form in Array(repeating: form, count: ring.size / form.descriptors) }
    for first in forms.indices {
      var room = ring.size
      plans.append(
        (0..<5).compactMap { i in
          let form = forms[(first + i) % forms.count]
          guard form.descriptors <= room else { return nil }
          room -= form.descriptors
          return form
        })
    }
    return plans.filter { !$0.isEmpty }
  }

  /// Adds the chains of a plan, each with a readable piece in front where it has more than one.
  private static func add(_ plan: [ChainForm], _ driver: inout RawDriver) -> [RawChain] {
    plan.enumerated().map { n, form in
      driver.add(
        (0..<form.pieces).map { i in
          RawPiece(
            address: SmallMemory.buffers + UInt64(64 * n + 16 * i), length: UInt32(8 + i),
            isWritable: i > 0 || form.pieces == 1)
        }, form.raw(n))
    }
  }

  @Test(arguments: RingCase.all.filter { $0.size <= 5 }) func everyOrder(_ ring: RingCase) throws {
    let memory = try TestMemory(SmallMemory.places)
    let segments = SegmentList()
    let (pristine, filled, image) = (memory.copy(), memory.copy(), memory.copy())
    for start in ring.starts {
      for plan in Self.plans(ring) {
        memory.restore(pristine)
        let raw = RawRing.fresh(memory, ring, start: start)
        var driver = RawDriver(raw, rotation: 3)
        let added = Self.add(plan, &driver)
        filled.assign(memory.bytes)
        for order in Self.permutations(plan.count) {
          for atOnce in Set([1, 2, plan.count]) {
            memory.restore(filled)
            image.assign(filled)
            try fetchAndReturn(
              memory, raw, added, RingModel(raw, chains: added, image: image), segments, driver, order: order,
              atOnce: atOnce, "start \(start) \(plan) order \(order), \(atOnce) at once")
          }
        }
      }
    }
  }

  private func fetchAndReturn(
    _ memory: TestMemory, _ raw: RawRing, _ added: [RawChain], _ empty: RingModel, _ segments: SegmentList,
    _ driver: RawDriver, order: [Int], atOnce: Int, _ label: @autoclosure () -> String
  ) throws {
    var model = empty
    var driver = driver
    var device = try raw.device(memory, .indirectDescriptors)
    var chains: [DeviceRing.Chain] = []
    var outstanding = 0
    for (i, chain) in added.enumerated() {
      try require(device.pending() == added.count - i, label())
      guard let found = device.fetchChain(into: segments, memory: memory.view, outstanding: outstanding) else {
        throw Unmet(description: "chain \(i) of \(label()): \(device.fault)")
      }
      try require(found.id == chain.id && Int(found.descriptors) == chain.descriptors, label())
      try require(found.readable == chain.readable && found.writable == chain.writable, label())
      chains.append(found)
      outstanding += chain.descriptors
    }
    let more = device.fetchChain(into: segments, memory: memory.view, outstanding: outstanding)
    try require(more == nil && device.fault == .none, label())
    try requireSame(memory, model.image, "fetching writes nothing: \(label())")
    for (n, i) in order.enumerated() {
      let written = chains[i].writable * (i % 3) / 2
      device.returnChain(chains[i], written: written)
      let position = model.chains.firstIndex(of: added[i]) ?? 0
      model.use(position, length: written)
      var seen = driver
      try require(seen.collect() == nil, "nothing is announced yet: \(label())")
      guard (n + 1) % atOnce == 0 || n == order.count - 1 else { continue }
      device.publishChains()
      try requireSame(memory, model.image, label())
      // The driver sees them in the order returned.
      for j in order[(n / atOnce * atOnce)...n] {
        let taken = driver.collect()
        try require(taken?.chain == added[j] && Int(taken?.length ?? 0) == chains[j].writable * (j % 3) / 2, label())
      }
      try require(driver.collect() == nil, label())
    }
    device.publishChains()
    try requireSame(memory, model.image, "nothing more to publish: \(label())")
    try require(device.nextUsed == model.device.nextUsed && device.nextAvail == device.nextUsed, label())
  }

  /// The first of several used descriptors of a packed ring is the last one to be marked (virtio 1.2, §2.8.10), and the
  /// used index of a split ring moves once.
  @Test(arguments: RingLayout.Format.allCases) func announcedAtOnce(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    let ring = RingCase(format: format, size: 4)
    let raw = RawRing.fresh(memory, ring, start: format == .split ? 0xfffe : 2)
    var driver = RawDriver(raw)
    let added = Self.add(Array(repeating: ChainForm(pieces: 1, direct: 1), count: 4), &driver)
    var device = try raw.device(memory)
    let segments = SegmentList()
    let chains = (0..<4).compactMap { device.fetchChain(into: segments, memory: memory.view, outstanding: $0) }
    try #require(chains.count == 4)
    let first = raw.flags(2)
    for (n, chain) in chains.enumerated() {
      device.returnChain(chain, written: 5)
      switch format {
      case .split:
        #expect(raw.usedIndex == 0xfffe)
        let entry = raw.usedEntry(0xfffe &+ UInt16(n))
        #expect(entry.id == UInt32(added[n].id) && entry.length == 5)
      case .packed:
        #expect(raw.flags(2) == first)
        let position = raw.next(2, by: n)
        if n > 0 {
          #expect(raw.flags(raw.index(position)) == raw.usedBits(position) | RawDescriptor.write)
        }
        #expect(raw.descriptor(raw.index(position)).link == added[n].id)
      }
    }
    device.publishChains()
    let collected = added.compactMap { _ in driver.collect()?.chain }
    #expect(collected == added)
  }

  /// Pieces of either kind, cut and placed in every way, are found in full: what is read through them, and where what
  /// is written through them ends up.
  @Test(arguments: RingLayout.Format.allCases) func chainsHaveAllTheirPieces(_ format: RingLayout.Format) throws {
    let ring = RingCase(format: format, size: 4)
    let memory = try TestMemory(SmallMemory.places)
    let (pristine, image) = (memory.copy(), memory.copy())
    let segments = SegmentList()
    let pattern = [UInt8](1...120)
    for pieces in 1...3 {
      for form in ChainForm.all(pieces: pieces, ring, tables: ChainForm.Table.allCases) {
        for readable in 0...pieces {
          for length in [0, 1, 33] {
            // The middle of the first piece, or the start of the second, is a border of regions.
            for address in [
              SmallMemory.buffers, SmallMemory.bufferBorder - 17, SmallMemory.bufferBorder - UInt64(length),
            ] {
              memory.restore(pristine)
              let raw = RawRing.fresh(memory, ring, start: raw(ring))
              var driver = RawDriver(raw, rotation: 1)
              let chain = driver.add(
                (0..<pieces).map { i in
                  RawPiece(
                    address: address + UInt64(i * length), length: UInt32(length), isWritable: i >= readable)
                }, form.raw(0))
              image.assign(memory.bytes)
              var model = RingModel(raw, chains: [chain], image: image)
              var device = try raw.device(memory, .indirectDescriptors)
              let label = "\(form), \(readable) readable, length \(length) at \(address)"
              guard let found = device.fetchChain(into: segments, memory: memory.view, outstanding: 0) else {
                throw Unmet(description: "\(device.fault): \(label)")
              }
              try require(found.length == pieces, label)
              try require(found.readable == chain.readable && found.writable == chain.writable, label)
              try require(segments.bytes(0..<found.readableSegments) == model.packet(0), label)
              try require(segments.write(pattern, from: found.readableSegments) == chain.writable, label)
              var from = 0
              for piece in chain.pieces where piece.isWritable {
                image.write(piece.address, Array(pattern[from..<from + length]))
                from += length
              }
              device.returnChain(found, written: chain.writable)
              device.publishChains()
              model.use(length: chain.writable)
              try requireSame(memory, image, label)
            }
          }
        }
      }
    }
  }

  private func raw(_ ring: RingCase) -> UInt16 { ring.fewStarts[1] }

  /// A driver that has no more descriptors cannot have made another chain of them.
  @Test(arguments: RingCase.all) func chainsHaveNoMoreDescriptorsThanTheRing(_ ring: RingCase) throws {
    let memory = try TestMemory(SmallMemory.places)
    let segments = SegmentList()
    for length in 1...ring.size {
      let raw = RawRing.fresh(memory, ring, start: ring.start)
      var driver = RawDriver(raw)
      driver.add((0..<length).map { RawPiece(address: SmallMemory.buffers + UInt64($0), length: 1) })
      let image = memory.copy()
      for outstanding in 0...ring.size {
        var device = try raw.device(memory)
        let found = device.fetchChain(into: segments, memory: memory.view, outstanding: outstanding)
        let isRight = outstanding + length <= ring.size
        try require((found != nil) == isRight, "\(length) descriptors, \(outstanding) outstanding")
        try require(device.fault == (isRight ? .none : .chainLoop), "\(device.fault)")
        try require(isRight || device.nextAvail == ring.start, "a chain that is refused is not taken")
      }
      try requireSame(memory, image, "fetching writes nothing")
    }
  }

  /// A used entry never says that more was written than there was room for, nor less than its field can hold.
  @Test(arguments: RingLayout.Format.allCases) func writtenLengths(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    let raw = RawRing.fresh(memory, RingCase(format: format, size: 4), start: format == .split ? 0 : 0x8000)
    func collected(_ written: Int, of writable: Int) throws -> (length: UInt32, isWritten: Bool) {
      raw.reset()
      var driver = RawDriver(raw)
      let chain = driver.add([RawPiece(address: SmallMemory.buffers, length: 16, isWritable: true)])
      var device = try raw.device(memory)
      device.returnChain(
        DeviceRing.Chain(
          id: chain.id, descriptors: 1, length: 1, readable: 0, writable: writable, readableSegments: 0),
        written: written)
      device.publishChains()
      let collected = driver.collect()
      let entry = try #require(collected)
      return (entry.length, entry.isWritten)
    }
    for (written, writable, length) in [
      (0, 16, 0), (1, 16, 1), (16, 16, 16), (17, 16, 16), (Int.max, 16, 16), (-1, 16, 0),
      (5 << 32, 6 << 32, Int(UInt32.max)),
    ] {
      let entry = try collected(written, of: writable)
      #expect(Int(entry.length) == length && entry.isWritten == (length > 0))
    }
  }
}
