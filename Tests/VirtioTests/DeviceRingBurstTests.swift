import Testing

@testable import Virtio

/// What a burst does beyond single steps.
@Suite struct DeviceRingBurstTests {
  private static let formats = RingLayout.Format.allCases
  private static let buffer = SmallMemory.buffers

  /// A ring close to where positions wrap around, with a driver and a device.
  private func ring(
    _ memory: TestMemory, _ format: RingLayout.Format, size: Int
  ) throws -> (RawRing, RawDriver, DeviceRing) {
    let raw = RawRing.fresh(
      memory, RingCase(format: format, size: size), start: format == .split ? 65534 : UInt16(size - 2))
    return (raw, RawDriver(raw), try raw.device(memory))
  }

  @Test(arguments: formats) func packetThatWaitsIsSentWhenBuffersCome(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    var (_, driver, device) = try ring(memory, format, size: 4)
    let burst = PacketBurst()
    let bytes = [UInt8](1...20)
    #expect(burst.append(bytes, headerLength: 12))
    for i in 0..<2 as Range<UInt64> {
      driver.add([.init(address: Self.buffer + i * 16, length: 15, isWritable: true)])
      let image = memory.copy()
      #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 0)
      #expect(memory.differences(from: image) == [] && burst[0].outcome == .pending)
    }
    driver.add([.init(address: Self.buffer + 32, length: 15, isWritable: true)])
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 1)
    let lengths = (0..<3).map { _ in driver.collect()?.length }
    #expect(lengths == [15, 15, 2] && burst[0].outcome == .delivered)
    #expect(memory.read(Self.buffer, 12) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0])
    let payload =
      memory.read(Self.buffer + 12, 3) + memory.read(Self.buffer + 16, 15) + memory.read(Self.buffer + 32, 2)
    #expect(payload == bytes)
  }

  /// A guest that has given all its descriptors gets a packet that is too long for them reported, and the next one
  /// sent.
  @Test(arguments: formats) func allDescriptorsGivenAndStillTooShort(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    var (_, driver, device) = try ring(memory, format, size: 4)
    for i in 0..<2 as Range<UInt64> {
      driver.add((0..<2).map { RawPiece(address: Self.buffer + i * 32 + $0 * 16, length: 16, isWritable: true) })
    }
    let burst = PacketBurst()
    #expect(burst.append([UInt8](repeating: 0, count: 53), headerLength: 12))
    #expect(burst.append([UInt8](repeating: 0, count: 52), headerLength: 12))
    #expect(device.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: true) == 2)
    #expect(burst[0].outcome == .undeliverable && burst[1].outcome == .delivered)
    let lengths = (0..<3).map { _ in driver.collect()?.length }
    #expect(lengths == [32, 32, nil])
  }

  @Test(arguments: formats) func writableDescriptorsBehindAPacketAreLeftAlone(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    var (raw, driver, device) = try ring(memory, format, size: 4)
    let chain = driver.add([
      .init(address: Self.buffer, length: 20), .init(address: Self.buffer + 256, length: 100, isWritable: true),
      // It is not looked up either.
      .init(address: 0x5000, length: 100, isWritable: true),
    ])
    var model = RingModel(raw, chains: [chain], image: memory.copy())
    let burst = PacketBurst()
    #expect(device.dequeueBurst(into: burst, limit: 8, memory: memory.view, headerLength: 12) == 1)
    #expect(burst[0].length == 20)
    device.complete(burst, first: 0, count: 1)
    model.use(length: 0)
    #expect(memory.differences(from: model.image) == [])
  }

  @Test(arguments: formats) func limits(_ format: RingLayout.Format) throws {
    let memory = try TestMemory(SmallMemory.places)
    var (_, driver, device) = try ring(memory, format, size: 64)
    for _ in 0..<64 { driver.add([.init(address: 0x1_0f00, length: 12)]) }
    let burst = PacketBurst()
    func take(_ limit: Int) -> Int {
      device.dequeueBurst(into: burst, limit: limit, memory: memory.view, headerLength: 12)
    }
    #expect(device.pending(limit: 0) == 0 && device.pending(limit: 7) == 7 && device.pending() == 32)
    #expect(device.pending(limit: .max) == 64)
    #expect(take(0) == 0 && take(-1) == 0 && take(5) == 5 && take(100) == 27 && take(100) == 0)
    #expect(device.pending() == 32)
    device.complete(burst, first: 30, count: 2)
    device.complete(burst, first: 32, count: 0)
    let collected = (0..<3).map { _ in driver.collect() != nil }
    #expect(collected == [true, true, false])
  }

  /// When guest memory changes, a ring goes on in the new mapping and leaves the old one alone.
  @Test(arguments: formats) func movedMemoryIsUsedFromThenOn(_ format: RingLayout.Format) throws {
    let old = try TestMemory(SmallMemory.places)
    var (raw, driver, device) = try ring(old, format, size: 4)
    let chains = (0..<4).map { driver.add([.init(address: Self.buffer + UInt64($0 * 16), length: 16)]) }
    let burst = PacketBurst()
    #expect(device.dequeueBurst(into: burst, limit: 2, memory: old.view, headerLength: 12) == 2)
    device.complete(burst, first: 0, count: 1)
    let left = old.copy()

    let new = try TestMemory(SmallMemory.places)
    new.restore(left)
    new.write(Self.buffer + 32, [UInt8](repeating: 0xee, count: 16))
    // The one that was returned before is returned there too.
    var model = RingModel(raw, chains: chains, image: new.copy())
    model.use(length: 0)
    #expect(new.differences(from: model.image) == [])

    device.move(to: try raw.area(new.view))
    device.complete(burst, first: 1, count: 1)
    #expect(device.dequeueBurst(into: burst, limit: 4, memory: new.view, headerLength: 12) == 2)
    #expect(burst.bytes(2) == [UInt8](repeating: 0xee, count: 16))
    device.complete(burst, first: 2, count: 2)
    for _ in 0..<3 { model.use(length: 0) }
    #expect(new.differences(from: model.image) == [])
    #expect(old.differences(from: left) == [])
    #expect(device.nextAvail == driver.nextAvail && device.nextUsed == driver.nextAvail)
  }
}
