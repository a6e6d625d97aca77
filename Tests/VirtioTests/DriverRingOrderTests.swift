import Testing

@testable import Virtio

/// `VIRTIO_F_IN_ORDER` (virtio 1.2, §2.7.9 and §2.8.9): one used entry may stand for a batch of chains.
@Suite struct DriverRingOrderTests {
  /// All ways to cut a number into parts, in order.
  static func batches(_ count: Int) -> [[Int]] {
    if count == 0 { return [[]] }
    return (1...count).flatMap { first in batches(count - first).map { [first] + $0 } }
  }

  /// Every cut of up to four chains into batches, at every position, lap for lap.
  @Test(arguments: RingCase.all, [false, true]) func everyBatch(_ ring: RingCase, isIndirect: Bool) throws {
    let memory = try TestMemory(SmallMemory.places)
    for start in ring.starts {
      for pieces in 1...min(3, isIndirect ? 3 : ring.size) {
        let count = min(ring.size / (isIndirect ? 1 : pieces), 4)
        var bench = try DriverBench(memory, ring, start: start, .inOrder)
        var device = RawDevice(bench.raw)
        for (lap, batches) in Self.batches(count).enumerated() {
          var fetched: [RawChain] = []
          for n in 0..<count {
            _ = bench.driver.add(
              DriverBench.pieces(pieces, readable: n % 2, seed: n + lap), isIndirect: isIndirect)
          }
          _ = bench.driver.publish()
          while let chain = device.fetch() { fetched.append(chain) }
          let label = "start \(start) \(pieces) pieces lap \(lap) batches \(batches)"
          try require(fetched.count == count, label)
          var first = 0
          for batch in batches {
            let last = fetched[first + batch - 1]
            let steps = fetched[first..<first + batch].reduce(0) { $0 + bench.raw.steps($1) }
            let length = last.writable / 2
            device.use(id: last.id, length: UInt32(length), steps: steps)
            for i in first..<first + batch {
              // The others were written completely, for all that the driver knows.
              let expected = i == first + batch - 1 ? length : fetched[i].writable
              let taken = try bench.driver.collect()
              try require(taken?.head == fetched[i].id && taken.map { Int($0.length) } == expected, label)
            }
            try require(try bench.driver.collect() == nil, label)
            first += batch
          }
          try require(bench.driver.freeCount == ring.size && bench.driver.outstanding == 0, label)
        }
      }
    }
  }

  /// A batch cannot reach further than the used index of a split ring says.
  @Test(arguments: [2, 4, 8]) func batchBehindTheUsedIndex(size: Int) throws {
    let memory = try TestMemory(SmallMemory.places)
    let ring = RingCase(format: .split, size: size)
    for start in ring.starts {
      for batch in 1...size {
        for moved in 1...size {
          var bench = try DriverBench(memory, ring, start: start, .inOrder)
          var device = RawDevice(bench.raw)
          for n in 0..<size { _ = bench.driver.add(DriverBench.pieces(1, readable: 0, seed: n)) }
          _ = bench.driver.publish()
          let fetched = (0..<size).compactMap { _ in device.fetch() }
          device.use(id: fetched[batch - 1].id, length: 0, steps: moved)
          var faults: [DriverRing.DeviceFault] = []
          var taken = 0
          do throws(DriverRing.DeviceFault) {
            // One entry is looked at: what lies behind the batch has not been written.
            while taken < batch, try bench.driver.collect() != nil { taken += 1 }
          } catch { faults.append(error) }
          let isRight = batch <= moved
          try require(taken == (isRight ? batch : 0), "\(taken) of \(batch), moved \(moved)")
          try require(faults == (isRight ? [] : [.order(UInt32(fetched[batch - 1].id))]), "\(faults)")
        }
      }
    }
  }

  /// A chain of a batch is the driver's again with the batch, not before and not twice.
  @Test(arguments: RingLayout.Format.allCases) func batchesReturnChainsOnce(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    var bench = try DriverBench(
      memory, RingCase(format: format, size: 4), start: format == .split ? 0 : 0x8000, .inOrder)
    var device = RawDevice(bench.raw)
    for n in 0..<4 { _ = bench.driver.add(DriverBench.pieces(1, readable: 0, seed: n)) }
    _ = bench.driver.publish()
    let fetched = (0..<4).compactMap { _ in device.fetch() }
    device.use(id: fetched[2].id, length: 1, steps: 3)
    for i in 0..<3 {
      let taken = try bench.driver.collect()
      #expect(taken?.head == fetched[i].id && bench.driver.freeCount == i + 1)
    }
    // Used again, though it is the driver's already.
    device.use(id: fetched[1].id, length: 0, steps: 1)
    #expect(throws: DriverRing.DeviceFault.unknownHead(UInt32(fetched[1].id))) { try bench.driver.collect() }
    #expect(bench.driver.freeCount == 3 && bench.driver.outstanding == 1)
  }
}
