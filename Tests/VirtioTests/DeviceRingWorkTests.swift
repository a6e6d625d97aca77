import Testing

@testable import Virtio

/// What a guest can make the device do in one burst is bounded, whatever it writes.
@Suite struct DeviceRingWorkTests {
  private static let formats = RingLayout.Format.allCases

  /// Heads that share one long chain of empty descriptors would cost size × size visits in every burst.
  @Test func sharedDescriptors() throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x1_0000)])
    let raw = RawRing.fresh(memory, RingCase(format: .split, size: 256), start: 0)
    for i in 0..<256 {
      raw.setDescriptor(
        i,
        RawDescriptor(
          address: 0x1_8000, length: i == 255 ? 12 : 0, flags: i == 255 ? 2 : 3, link: UInt16(truncatingIfNeeded: i + 1)
        ))
      raw.setHead(UInt16(i), 0)
    }
    raw.setAvailIndex(255)
    let image = memory.copy()
    var device = try raw.device(memory)
    let burst = PacketBurst()
    #expect(burst.append([UInt8](repeating: 0, count: 12 * 256), headerLength: 12))
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 0)
    #expect(device.fault == .chainLoop && memory.differences(from: image) == [])
  }

  /// So would a thousand long tables, of which each has room for a byte; sharing one is enough for that.
  @Test(arguments: formats) func sharedTables(_ format: RingLayout.Format) throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x1_0000), .init(start: 0x3_0000, size: 0x1_0000)])
    let ring = RingCase(format: format, size: 1024)
    let raw = RawRing.fresh(memory, ring, start: ring.start)
    var driver = RawDriver(raw)
    // The header fits into the first, and one byte each into the others.
    driver.add([.init(address: 0x3_0000, length: 12, isWritable: true)])
    let empty = RawPiece(address: 0, length: 0, isWritable: true)
    let pieces = Array(repeating: empty, count: 1023) + [RawPiece(address: 0x3_0100, length: 1, isWritable: true)]
    driver.add(pieces, .indirect(table: 0x3_8000))
    let reference = raw.descriptor(raw.index(raw.next(ring.start)))
    for i in 2..<1024 {
      switch format {
      case .split: raw.setHead(UInt16(i), raw.head(1))
      case .packed: raw.setDescriptor(i, reference)
      }
    }
    if format == .split { raw.setAvailIndex(1024) }
    let image = memory.copy()
    var device = try raw.device(memory, .indirectDescriptors)
    let burst = PacketBurst()
    #expect(burst.append([UInt8](repeating: 0, count: 1023), headerLength: 12))
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 0)
    #expect(device.fault == .chainLoop && memory.differences(from: image) == [])
  }

  /// Long chains end a burst early, in either direction.
  @Test(arguments: formats) func visitsAreBounded(_ format: RingLayout.Format) throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x4_0000)])
    let burst = PacketBurst()
    for isWritable in [false, true] {
      let ring = RingCase(format: format, size: 8192)
      let raw = RawRing.fresh(memory, ring, start: ring.start)
      var driver = RawDriver(raw)
      let empty = RawPiece(address: 0, length: 0, isWritable: isWritable)
      for _ in 0..<4 {
        driver.add(
          Array(repeating: empty, count: 2047) + [RawPiece(address: 0x4_0000, length: 12, isWritable: isWritable)])
      }
      var device = try raw.device(memory)
      burst.clear()
      let done: Int
      if isWritable {
        for _ in 0..<4 { #expect(burst.append([], headerLength: 12)) }
        done = device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true)
      } else {
        done = device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
      }
      #expect(done == 2 && device.pending(limit: .max) == 2 && device.fault == .none)
    }
  }

  /// A packed ring in which every descriptor is available and followed by another makes nobody go around for ever
  /// (CVE-2026-16457).
  @Test(arguments: RingCase.all.filter { $0.format == .packed }, [0, RawDescriptor.write])
  func packedChainWithoutAnEnd(_ ring: RingCase, flags: UInt16) throws {
    let memory = try TestMemory(SmallMemory.places)
    let burst = PacketBurst()
    let segments = SegmentList()
    for start in ring.starts {
      for length in [0, 1, 16] as [UInt32] {
        let raw = RawRing.fresh(memory, ring, start: start)
        for i in 0..<ring.size {
          // Available to a device that comes around again, too.
          let wrap = i < raw.index(start) ? start ^ 0x8000 : start
          raw.setDescriptor(
            i,
            RawDescriptor(
              address: SmallMemory.buffers, length: length, flags: RawDescriptor.next | flags | raw.availBits(wrap)))
        }
        let image = memory.copy()
        func fault(_ body: (inout DeviceRing) -> Void) throws -> RingFault {
          var device = try raw.device(memory)
          try require(device.pending(limit: .max) == 1, "one chain")
          body(&device)
          try require(device.nextAvail == start, "nothing was taken")
          return device.fault
        }
        let fetched = try fault { _ = $0.fetchChain(into: segments, memory: memory.view, outstanding: 0) }
        let moved = try fault {
          burst.clear()
          if flags == 0 {
            _ = $0.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12)
          } else {
            _ = burst.append([UInt8](repeating: 0, count: 200), headerLength: 12)
            _ = $0.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true)
          }
        }
        try require(fetched == .chainLoop && moved == .chainLoop, "start \(start), length \(length): \(moved)")
        try requireSame(memory, image, "start \(start)")
      }
    }
  }

  /// Nor does one in which every descriptor is available for this lap and the next.
  @Test(arguments: RingCase.all.filter { $0.format == .packed }) func pendingIsCountedOnce(_ ring: RingCase) throws {
    let memory = try TestMemory(SmallMemory.places)
    for start in ring.starts {
      let raw = RawRing.fresh(memory, ring, start: start)
      var driver = RawDriver(raw)
      for count in 1...ring.size {
        driver.add([RawPiece(address: SmallMemory.buffers, length: 1)])
        var device = try raw.device(memory)
        try require(device.pending(limit: .max) == count, "\(count)")
      }
      // One of a chain that goes around the end of the ring.
      for i in 0..<ring.size { raw.setFlags(i, raw.flags(i) | RawDescriptor.next) }
      var device = try raw.device(memory)
      try require(device.pending(limit: .max) == 1, "a chain without an end is one")
    }
  }
}
