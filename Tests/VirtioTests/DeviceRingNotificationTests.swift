import Testing

@testable import Virtio

/// Calls and kicks: every position that an event can have against every way to move past it, counted step by step.
@Suite struct DeviceRingNotificationTests {
  /// Flags that say something in one format or the other, and some that no side writes.
  static let flags: [UInt16] = [0, 1, 2, 3, 4, 5, 6, 0xfffc, 0xffff]

  /// All flags for one position, and every position (packed), or those around where a side has come from and gone to
  /// (split), with the flags that make the position count.
  static func events(_ raw: RawRing, from: UInt16, to: UInt16) -> [RawRing.Event] {
    let around: [UInt16] = [from, to].flatMap { position in (0..<5).map { position &- 2 &+ $0 } }
    let positions = raw.format == .split ? [0, 0xffff] + around : (0..<UInt16(raw.size)).flatMap { [$0, $0 | 0x8000] }
    return flags.map { .init(position: from, flags: $0) } + positions.map { .init(position: $0, flags: 2) }
  }

  @Test(arguments: RingCase.all, [1, 2]) func wantsCall(_ ring: RingCase, descriptors: Int) throws {
    guard descriptors <= ring.size else { return }
    let memory = try TestMemory(SmallMemory.places)
    let segments = SegmentList()
    let pieces = (0..<descriptors).map { RawPiece(address: SmallMemory.buffers + UInt64($0), length: 1) }
    for hasEventIndex in [false, true] {
      for start in ring.starts {
        let raw = RawRing.fresh(memory, ring, start: start)
        var driver = RawDriver(raw)
        var device = try raw.device(memory, hasEventIndex ? .eventIndex : [])
        let step = ring.format == .split ? 1 : descriptors
        func check(_ device: DeviceRing, moved: Int, from: UInt16) throws {
          for event in Self.events(raw, from: from, to: device.nextUsed) {
            raw.callEvent = event
            let expected = raw.isWanted(event, from: from, steps: moved, hasEventIndex: hasEventIndex)
            var asked = device
            try require(
              asked.wantsCall() == expected,
              "\(event) from \(from) by \(moved), event index \(hasEventIndex): not \(expected)")
          }
        }
        // Whoever served the ring before may not have called for what it did.
        try check(device, moved: raw.positions, from: start)
        _ = device.wantsCall()
        try check(device, moved: 0, from: start)
        for moved in 1...2 * ring.size + 1 {
          driver.add(pieces)
          guard let chain = device.fetchChain(into: segments, memory: memory.view, outstanding: 0) else {
            throw Unmet(description: "\(device.fault)")
          }
          device.returnChain(chain, written: 0)
          device.publishChains()
          _ = driver.collect()
          try check(device, moved: moved * step, from: start)
        }
        // Having asked, the device starts to count again.
        let from = device.nextUsed
        _ = device.wantsCall()
        try check(device, moved: 0, from: from)
      }
    }
  }

  @Test(arguments: RingCase.all) func wantsKicks(_ ring: RingCase) throws {
    let memory = try TestMemory(SmallMemory.places)
    let segments = SegmentList()
    let image = memory.copy()
    for hasEventIndex in [false, true] {
      for start in ring.starts {
        for announced in 0...ring.size {
          let raw = RawRing.fresh(memory, ring, start: start)
          var driver = RawDriver(raw)
          for _ in 0..<announced { driver.add([RawPiece(address: SmallMemory.buffers, length: 1)]) }
          for fetched in 0...announced {
            var device = try raw.device(memory, hasEventIndex ? .eventIndex : [])
            for i in 0..<fetched { _ = device.fetchChain(into: segments, memory: memory.view, outstanding: i) }
            for isWanted in [true, false, false, true] {
              image.assign(memory.bytes)
              let model = RawDevice(raw.on(image))
              model.setWantsKicks(isWanted, hasEventIndex: hasEventIndex)
              device.setWantsKicks(isWanted)
              try requireSame(memory, image, "start \(start), \(fetched) of \(announced), \(isWanted) \(hasEventIndex)")
            }
            // The next chain, and none before it, is one to be kicked for.
            try require(
              raw.isWanted(raw.kickEvent, from: driver.nextAvail, steps: 1, hasEventIndex: hasEventIndex), "kick")
          }
        }
      }
    }
  }

  /// A device that does without kicks gets none from a driver that makes less than all positions available.
  @Test(arguments: RingCase.all, [false, true]) func doesWithoutKicks(_ ring: RingCase, hasEventIndex: Bool) throws {
    let memory = try TestMemory(SmallMemory.places)
    for start in ring.starts {
      let raw = RawRing.fresh(memory, ring, start: start)
      var driver = RawDriver(raw)
      let device = try raw.device(memory, hasEventIndex ? .eventIndex : [])
      device.setWantsKicks(true)
      driver.add([RawPiece(address: SmallMemory.buffers, length: 1)])
      device.setWantsKicks(false)
      let next = driver.nextAvail
      try require(
        !raw.isWanted(raw.kickEvent, from: next, steps: ring.size, hasEventIndex: hasEventIndex), "start \(start)")
    }
  }

  @Test(arguments: RingLayout.Format.allCases, [false, true])
  func brokenRingAsksForNothing(_ format: RingLayout.Format, hasEventIndex: Bool) throws {
    let memory = try TestMemory(SmallMemory.places)
    let ring = RingCase(format: format, size: 4)
    let raw = RawRing.fresh(memory, ring, start: ring.start)
    var driver = RawDriver(raw)
    driver.add([RawPiece(address: 0x5000, length: 1)])
    var device = try raw.device(memory, hasEventIndex ? .eventIndex : [])
    let found = device.fetchChain(into: SegmentList(), memory: memory.view, outstanding: 0)
    #expect(found == nil && device.fault == .unmapped)
    let image = memory.copy()
    for isWanted in [false, true] {
      device.setWantsKicks(isWanted)
      #expect(memory.differences(from: image) == [])
    }
  }
}
