import Testing

@testable import Virtio

/// When a driver kicks, and how it asks for calls: every event position against every way to move past it.
@Suite struct DriverRingNotificationTests {
  @Test(arguments: RingCase.all, [1, 2]) func kicks(_ ring: RingCase, descriptors: Int) throws {
    guard descriptors <= ring.size else { return }
    let memory = try TestMemory(SmallMemory.places)
    for features in DriverBench.features {
      for start in ring.starts {
        var bench = try DriverBench(memory, ring, start: start, features)
        var device = RawDevice(bench.raw)
        // Everything at once, then what there is room for one by one.
        for count in Array((1...ring.size / descriptors).reversed()) + [1, 1] {
          let from = device.nextAvail
          for n in 0..<count {
            let id = bench.driver.add(DriverBench.pieces(descriptors, readable: descriptors, seed: n))
            try require(id != nil, "room")
          }
          let steps = ring.format == .split ? count : count * descriptors
          let to = bench.raw.next(from, by: steps)
          let hasEventIndex = features.contains(.eventIndex)
          for event in DeviceRingNotificationTests.events(bench.raw, from: from, to: to) {
            bench.raw.kickEvent = event
            let expected = bench.raw.isWanted(event, from: from, steps: steps, hasEventIndex: hasEventIndex)
            var published = bench.driver
            try require(
              published.publish() == expected, "\(event) from \(from) by \(steps), \(features): not \(expected)")
            try require(!published.publish(), "the second has nothing new")
          }
          _ = bench.driver.publish()
          for _ in 0..<count {
            guard let chain = device.fetch() else { throw Unmet(description: "not available") }
            device.use(chain, length: 0)
            _ = try bench.driver.collect()
          }
        }
      }
    }
  }

  /// What is written, and to which effect: a device calls after so many chains, and not before.
  @Test(arguments: RingCase.all, [1, 2, 3]) func wantsCalls(_ ring: RingCase, descriptors: Int) throws {
    guard descriptors <= ring.size else { return }
    let memory = try TestMemory(SmallMemory.places)
    let image = memory.copy()
    for features in DriverBench.features {
      let hasEventIndex = features.contains(.eventIndex)
      for start in ring.starts {
        for collected in 0...1 {
          for count in 1...ring.size / descriptors {
            var bench = try DriverBench(memory, ring, start: start, features)
            var device = RawDevice(bench.raw)
            let total = ring.size / descriptors
            for n in 0..<total { _ = bench.driver.add(DriverBench.pieces(descriptors, readable: 1, seed: n)) }
            _ = bench.driver.publish()
            let chains = (0..<total).compactMap { _ in device.fetch() }
            for chain in chains.prefix(collected) {
              device.use(chain, length: 0)
              _ = try bench.driver.collect()
            }
            let label = "\(features) start \(start) \(collected) collected, \(count) more"
            let from = device.nextUsed

            bench.driver.setWantsCalls(false)
            let steps = ring.format == .split ? total : total * descriptors
            try require(
              !bench.raw.isWanted(bench.raw.callEvent, from: from, steps: steps, hasEventIndex: hasEventIndex), label)

            image.assign(memory.bytes)
            bench.driver.setWantsCalls(true, after: count)
            image.accept(memory.bytes, bench.raw.avail, ring.format == .split ? 6 + 2 * ring.size : 4)
            try requireSame(memory, image, label)
            let rest = chains.count - collected
            // More chains than are there do not come back.
            guard count <= rest else { continue }
            let isExact = hasEventIndex && (ring.format == .split || features.contains(.inOrder) || descriptors == 1)
            for back in 1...rest {
              let steps = chains[collected..<collected + back].reduce(0) { $0 + bench.raw.steps($1) }
              let isCalled = bench.raw.isWanted(
                bench.raw.callEvent, from: from, steps: steps, hasEventIndex: hasEventIndex)
              try require(back < count || isCalled, "\(back) back: \(label)")
              if isExact { try require(isCalled == (back >= count), "\(back) back: \(label)") }
            }
          }
        }
      }
    }
  }

  /// The plain flags, as they stand in memory.
  @Test func flags() throws {
    let memory = try TestMemory(SmallMemory.places)
    for (format, hasEventIndex, wanted, expected) in [
      (.split, false, true, 0), (.split, false, false, 1), (.split, true, true, 0), (.split, true, false, 0),
      (.packed, false, true, 0), (.packed, false, false, 1), (.packed, true, true, 2), (.packed, true, false, 1),
    ] as [(RingLayout.Format, Bool, Bool, UInt16)] {
      let ring = RingCase(format: format, size: 4)
      let bench = try DriverBench(memory, ring, start: ring.start, hasEventIndex ? .eventIndex : [])
      bench.driver.setWantsCalls(!wanted)
      bench.driver.setWantsCalls(wanted)
      #expect(bench.raw.callEvent.flags == expected)
    }
  }
}
