import Testing

@testable import Virtio

/// A driver whose device has gone: what it has not given back is made available anew, for the next device.
@Suite struct DriverRingResubmitTests {
  /// At every position, after every number of chains, in order and not; a device that ends while it returns chains too.
  @Test("What one device did not return, the next one finds, in order and as it was", arguments: RingCase.all, [1, 2])
  func everyMoment(_ ring: RingCase, pieces: Int) throws {
    let memory = try TestMemory(SmallMemory.places)
    guard pieces <= ring.size else { return }
    for (features, isIndirect) in DriverBench.features.flatMap({ [($0, false), ($0, true)] }) {
      let count = isIndirect ? ring.size : ring.size / pieces
      for start in ring.starts {
        for returned in 0...count {
          for isReversed in features.contains(.inOrder) ? [false] : [false, true] {
            let label = "\(ring) start \(start) \(features.bits) indirect \(isIndirect) \(returned) \(isReversed)"
            var bench = try DriverBench(memory, ring, start: start, features)
            var device = RawDevice(bench.raw)
            let chains = (0..<count).map { DriverBench.pieces(pieces, readable: $0 % 2, seed: $0) }
            for chain in chains { _ = bench.driver.add(chain, isIndirect: isIndirect) }
            _ = bench.driver.publish()
            var fetched: [RawChain] = []
            while let chain = device.fetch() { fetched.append(chain) }
            let order = isReversed ? Array((0..<count).reversed()) : Array(0..<count)
            for i in order.prefix(returned) { device.use(fetched[i], length: 0) }
            interrupt(&device, order.dropFirst(returned).map { fetched[$0] })
            for _ in 0..<returned { try require(try bench.driver.collect() != nil, label) }
            try require(try bench.driver.collect() == nil, label)

            bench.driver.resubmit()
            var next = RawDevice(bench.raw, at: bench.driver.position)
            fetched = []
            while let chain = next.fetch() { fetched.append(chain) }
            let waiting = order.dropFirst(returned).sorted()
            try require(fetched.map(\.pieces) == waiting.map { DriverBench.raw(chains[$0]) }, label)
            for chain in fetched {
              next.use(chain, length: 0)
              try require(try bench.driver.collect()?.head == chain.id, label)
            }
            try require(bench.driver.freeCount == ring.size && bench.driver.outstanding == 0, label)
            // And on as ever.
            _ = bench.driver.add(chains[0], isIndirect: isIndirect)
            try require(bench.driver.publish(), label)
            try require(next.fetch()?.pieces == DriverBench.raw(chains[0]), label)
          }
        }
      }
    }
  }

  /// Leaves the ring as a device that ends while it returns chains: all are written as used, and none announced.
  private func interrupt(_ device: inout RawDevice, _ rest: [RawChain]) {
    let ring = device.ring
    guard rest.count > 1 else { return }
    switch ring.format {
    case .split:
      for (i, chain) in rest.enumerated() {
        ring.setUsedEntry(ring.next(device.nextUsed, by: i), id: UInt32(chain.id), length: 1)
      }
    case .packed:
      // The flags of the first one are what announces them.
      let index = ring.index(device.nextUsed)
      let flags = ring.flags(index)
      for chain in rest { device.use(chain, length: 1) }
      ring.setFlags(index, flags)
    }
  }
}
