import Testing

@testable import Virtio

/// The driver side on small rings, exhaustively, against a device written byte by byte.
@Suite struct DriverRingTests {
  typealias Piece = DriverRing.Piece

  @Test(arguments: RingCase.all) func startsEmpty(_ ring: RingCase) throws {
    let memory = try TestMemory(SmallMemory.places)
    let image = memory.copy()
    for hasEventIndex in [false, true] {
      for start in ring.starts {
        memory.bytes.fill(seed: UInt64(start))
        image.assign(memory.bytes)
        let bench = try DriverBench(memory, ring, start: start, hasEventIndex ? .eventIndex : [])
        let model = bench.raw.on(image)
        if ring.format == .packed {
          for i in 0..<ring.size { model.setDescriptor(i, RawDescriptor()) }
        } else if hasEventIndex {
          model.callEvent = .init(position: start, flags: 0)
          model.kickEvent = .init(position: start, flags: 0)
        }
        model.reset()
        try requireSame(memory, image, "start \(start)")
        try require(bench.driver.freeCount == ring.size && bench.driver.outstanding == 0, "empty")
        var device = RawDevice(bench.raw)
        try require(device.fetch() == nil, "nothing is available")
        var driver = bench.driver
        try require(try driver.collect() == nil, "nothing is used")
      }
    }
  }

  /// Every form of chain at every position, until the ring is full: what a device reads is what was given, after it was
  /// announced and not before, and nothing else is written.
  @Test(arguments: RingCase.all) func chainsAreWrittenAsTheStandardSays(_ ring: RingCase) throws {
    let memory = try TestMemory(SmallMemory.places)
    let (pristine, image) = (memory.copy(), memory.copy())
    for features in DriverBench.features {
      for start in ring.starts {
        for pieces in 1...3 {
          for isIndirect in [false, true] where isIndirect || pieces <= ring.size {
            memory.restore(pristine)
            var bench = try DriverBench(memory, ring, start: start, features)
            var device = RawDevice(bench.raw)
            let taken = isIndirect ? 1 : pieces
            let count = ring.size / taken
            image.assign(memory.bytes)
            var given: [[RawPiece]] = []
            var ids: [UInt16?] = []
            for n in 0..<count {
              let chain = DriverBench.pieces(pieces, readable: n % (pieces + 1), seed: n)
              ids.append(bench.driver.add(chain, isIndirect: isIndirect))
              given.append(DriverBench.raw(chain))
              try require(device.fetch() == nil, "chain \(n) is not announced yet")
              try require(bench.driver.freeCount == ring.size - (n + 1) * taken, "descriptors are taken")
            }
            try require(Set(ids).count == count && !ids.contains(nil), "ids \(ids)")
            try require(bench.driver.publish() && !bench.driver.publish(), "the second has nothing new")
            let label = "\(features) start \(start) \(pieces) pieces, indirect \(isIndirect)"
            for n in 0..<count {
              let chain = device.fetch()
              try require(
                chain == ids[n].map { RawChain(id: $0, descriptors: taken, pieces: given[n]) },
                "\(chain.debugDescription): \(label)")
            }
            try require(
              device.fetch() == nil && device.nextAvail == bench.raw.next(start, by: steps(ring, count, taken)), label)
            try checkTables(bench, count: isIndirect ? count : 0, pieces: pieces, label)
            if features.contains(.inOrder) && ring.format == .split {
              try checkOrder(bench, count: count, taken: taken, isIndirect: isIndirect, label)
            }
            bench.acceptDriverWrites(image)
            try requireSame(memory, image, label)
          }
        }
      }
    }
  }

  private func steps(_ ring: RingCase, _ chains: Int, _ descriptors: Int) -> Int {
    ring.format == .split ? chains : chains * descriptors
  }

  /// In a packed ring's table only the write flag may be set (virtio 1.2, §2.8.19); in a split one's, entries follow
  /// each other, as they must with `VIRTIO_F_IN_ORDER` (§2.7.5.3.1). A descriptor that refers to a table has no other
  /// flag.
  private func checkTables(_ bench: DriverBench, count: Int, pieces: Int, _ label: @autoclosure () -> String) throws {
    var device = bench.raw.start
    for _ in 0..<count {
      let index = bench.ring.format == .split ? Int(bench.raw.head(device)) : bench.raw.index(device)
      let reference = bench.raw.descriptor(index)
      try require(reference.flags & 7 == RawDescriptor.indirect && reference.length == UInt32(16 * pieces), label())
      for i in 0..<pieces {
        let entry = bench.raw.descriptor(at: reference.address + UInt64(16 * i))
        if bench.ring.format == .packed {
          try require(entry.flags & ~RawDescriptor.write == 0, label())
        } else if i < pieces - 1 {
          try require(entry.flags & ~RawDescriptor.write == RawDescriptor.next && Int(entry.link) == i + 1, label())
        } else {
          try require(entry.flags & ~RawDescriptor.write == 0, label())
        }
      }
      device = bench.raw.next(device)
    }
  }

  /// With `VIRTIO_F_IN_ORDER` the descriptors of a split ring are taken one after the other (virtio 1.2, §2.7.5).
  private func checkOrder(
    _ bench: DriverBench, count: Int, taken: Int, isIndirect: Bool, _ label: @autoclosure () -> String
  ) throws {
    for n in 0..<count {
      let head = Int(bench.raw.head(bench.raw.next(bench.raw.start, by: n)))
      try require(head == n * taken % bench.ring.size, "head \(head): \(label())")
      for i in 0..<taken - 1 {
        let link = Int(bench.raw.descriptor((head + i) % bench.ring.size).link)
        try require(link == (head + i + 1) % bench.ring.size, "link \(link): \(label())")
      }
    }
  }

  /// What cannot be added changes nothing.
  @Test(arguments: RingCase.all) func refusals(_ ring: RingCase) throws {
    let memory = try TestMemory(SmallMemory.places)
    var bench = try DriverBench(memory, ring, start: ring.start, [])
    for used in 0...ring.size {
      let image = memory.copy()
      func refuses(_ pieces: [Piece], isIndirect: Bool = false) throws {
        let free = bench.driver.freeCount
        let id = bench.driver.add(pieces, isIndirect: isIndirect)
        try require(id == nil && bench.driver.freeCount == free, "\(pieces.count) pieces with \(used) used")
      }
      try refuses([])
      try refuses([], isIndirect: true)
      try refuses(DriverBench.pieces(ring.size - used + 1, readable: 0, seed: 1))
      try refuses(DriverBench.pieces(DriverBench.tableLength + 1, readable: 0, seed: 1), isIndirect: true)
      if used == ring.size { try refuses(DriverBench.pieces(1, readable: 0, seed: 1), isIndirect: true) }
      try require(!bench.driver.publish() || used > 0, "nothing to announce")
      try require(used > 0 || memory.bytes.isSame(as: image), "nothing is written")
      if used < ring.size { try require(bench.driver.add(DriverBench.pieces(1, readable: 1, seed: 0)) != nil, "room") }
    }
    // Without tables there are no indirect chains.
    let raw = RawRing(memory.bytes, ring.format, size: ring.size, start: ring.start)
    var driver = DriverRing(try raw.area(memory.view), features: .indirectDescriptors)
    let image = memory.copy()
    let id = driver.add(DriverBench.pieces(1, readable: 1, seed: 0), isIndirect: true)
    try require(id == nil && memory.bytes.isSame(as: image), "no tables")
  }

  /// Chains come back in any order, and their descriptors can be given again, lap for lap.
  @Test(arguments: RingCase.all.filter { $0.size <= 4 }) func everyOrder(_ ring: RingCase) throws {
    let memory = try TestMemory(SmallMemory.places)
    for start in ring.starts {
      for pieces in 1...min(2, ring.size) {
        let count = ring.size / pieces
        let orders = DeviceRingChainTests.permutations(count)
        var bench = try DriverBench(memory, ring, start: start, [])
        var device = RawDevice(bench.raw)
        // Each order on what the ones before it have left behind.
        for (lap, order) in orders.enumerated() {
          let label = "start \(start) lap \(lap) order \(order)"
          var fetched: [RawChain] = []
          for n in 0..<count {
            let chain = DriverBench.pieces(pieces, readable: 0, seed: n + lap)
            try require(bench.driver.add(chain) != nil, label)
            _ = bench.driver.publish()
            guard let found = device.fetch() else { throw Unmet(description: "not available: \(label)") }
            try require(found.pieces == DriverBench.raw(chain), label)
            fetched.append(found)
          }
          for i in order {
            let length = UInt32(fetched[i].writable * i / 3)
            device.use(fetched[i], length: length)
            let outstanding = bench.driver.outstanding
            let taken = try bench.driver.collect()
            try require(taken?.head == fetched[i].id && taken?.length == length, label)
            try require(bench.driver.outstanding == outstanding - 1 && (try bench.driver.collect()) == nil, label)
          }
          try require(bench.driver.freeCount == ring.size, label)
        }
      }
    }
  }

  /// Random chains, returned in any order, over more than all positions: descriptors are neither lost nor given twice.
  @Test(arguments: RingLayout.Format.allCases, [3, 8, 32]) func freeListKeepsEverything(
    _ format: RingLayout.Format, size: Int
  ) throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x1_0000)])
    let ring = RingCase(format: format, size: format == .split && size == 3 ? 2 : size)
    let raw = RawRing(memory.bytes, format, size: ring.size, start: format == .split ? 63_000 : 0x8000)
    var driver = DriverRing(try raw.area(memory.view), features: [], startingAt: raw.start)
    var device = RawDevice(raw)
    var random = SplitMix(seed: UInt64(size))
    var held: [RawChain] = []
    var collected = 0
    while collected < 3000 {
      if random.next() % 2 == 0 {
        let count = Int(random.next() % 4)
        let pieces = (0..<count).map { Piece(address: 0, length: UInt32($0 + 1), isWritable: $0 > 0) }
        let before = driver.freeCount
        let id = driver.add(pieces)
        try require((id != nil) == (count > 0 && count <= before), "\(count) of \(before)")
        guard id != nil else { continue }
        _ = driver.publish()
        guard let chain = device.fetch() else { throw Unmet(description: "not available") }
        try require(!held.contains { $0.id == chain.id } && chain.pieces.count == count, "\(chain)")
        held.append(chain)
      } else if !held.isEmpty {
        let chain = held.remove(at: Int(random.next() % UInt64(held.count)))
        device.use(chain, length: UInt32(chain.writable))
        let taken = try driver.collect()
        try require(taken?.head == chain.id && Int(taken?.length ?? 0) == chain.writable, "\(chain)")
        collected += 1
      }
      let descriptors = held.reduce(0) { $0 + $1.descriptors }
      try require(driver.freeCount + descriptors == ring.size && driver.outstanding == held.count, "count")
    }
    for chain in held {
      device.use(chain, length: 0)
      _ = try driver.collect()
    }
    try require(driver.freeCount == ring.size && driver.outstanding == 0, "everything comes back")
  }
}
