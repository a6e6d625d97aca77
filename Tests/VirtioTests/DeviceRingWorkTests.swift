import Testing

@testable import Virtio

/// What a guest can make the device do in one burst is bounded, whatever it writes.
@Suite struct SplitDeviceRingWorkTests {
  /// Heads that share one long chain of empty descriptors would cost size × size visits in every burst.
  @Test func sharedDescriptors() throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x1_0000)])
    let ring = RawRing(memory, at: 0x1_0000, size: 256)
    for i in 0..<256 {
      ring.setDescriptor(
        i, address: 0x1_8000, length: i == 255 ? 12 : 0, flags: i == 255 ? 2 : 3,
        next: UInt16(truncatingIfNeeded: i + 1))
      ring.setHead(UInt16(i), 0)
    }
    ring.setAvailIndex(255)
    var device = try ring.device()
    let burst = PacketBurst()
    #expect(burst.append([UInt8](repeating: 0, count: 12 * 256), headerLength: 12))
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 0)
    #expect(device.fault == .chainLoop && ring.usedIndex == 0)
  }

  /// A guest that has given all its descriptors, in chains of two, gets a packet that is too long for them reported.
  @Test func allDescriptorsGivenAndStillTooShort() throws {
    let memory = try TestMemory(SplitDeviceRingFaultTests.places)
    var ring = RawRing(memory, at: 0x1_0000, size: 4)
    for i in 0..<2 as Range<UInt64> {
      ring.add([
        .init(address: SplitDeviceRingFaultTests.buffer + i * 32, length: 16, isWritable: true),
        .init(address: SplitDeviceRingFaultTests.buffer + i * 32 + 16, length: 16, isWritable: true),
      ])
    }
    var device = try ring.device()
    let burst = PacketBurst()
    #expect(burst.append([UInt8](repeating: 0, count: 53), headerLength: 12))
    #expect(burst.append([UInt8](repeating: 0, count: 52), headerLength: 12))
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 2)
    #expect(burst[0].outcome == .undeliverable && burst[1].outcome == .delivered && ring.usedIndex == 2)
  }

  /// Long chains end a burst early.
  @Test func visitsAreBounded() throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x4_0000)])
    let ring = RawRing(memory, at: 0x1_0000, size: 2048)
    for i in 0..<2048 {
      ring.setDescriptor(
        i, address: 0x4_0000, length: i == 2047 ? 12 : 0, flags: i == 2047 ? 0 : 1, next: UInt16(i + 1))
      ring.setHead(UInt16(i), 0)
    }
    ring.setAvailIndex(2048)
    var device = try ring.device()
    let burst = PacketBurst()
    #expect(device.dequeueBurst(into: burst, limit: 32, memory: memory.view, headerLength: 12) == 2)
    #expect(device.pending(limit: .max) == 2046 && device.fault == .none)
  }

  @Test func everyFaultHasWords() {
    let faults = (0...UInt8.max).compactMap(RingFault.init(rawValue:))
    #expect(faults.count == 10 && Set(faults.map(\.description)).count == 10)
  }
}
