import Virtio

/// The device side of a ring, in Swift: the code that datapaths run.
struct SwiftDevice {
  /// Keeps what the view and the ring point to.
  private let memory: GuestMemory
  private let view: MemoryView
  private let direction: RingCase.Direction
  private let isMergeable: Bool
  private var ring: DeviceRing
  private let burst: PacketBurst

  /// Serves the first ring.
  init(_ ground: RingGround) throws {
    memory = ground.memory
    view = memory.addressMap.view
    let (ringCase, ringMemory) = (ground.rings[0].ringCase, ground.rings[0].ringMemory)
    burst = ringCase.isPooled ? PacketBurst(try PacketPool(count: 4096)) : PacketBurst()
    direction = ringCase.direction
    isMergeable = ringCase.isMergeable
    let start = ringMemory.start
    ring = DeviceRing(ringMemory, features: [.version1, .indirectDescriptors], nextAvail: start, nextUsed: start)
    guard direction == .enqueue else { return }
    for i in 0..<PacketBurst.capacity {
      burst.append(length: ringCase.bytes) { payload in
        for byte in payload.indices { payload[byte] = GuestRing.byte(byte, of: i) }
      }
    }
  }

  /// Moves a burst of packets; returns how many they were.
  @inline(__always) mutating func turn() -> Int {
    switch direction {
    case .dequeue:
      burst.clear()
      let taken = ring.dequeueBurst(
        into: burst, limit: PacketBurst.capacity, memory: view, headerLength: RingCase.headerLength)
      ring.complete(burst, first: 0, count: taken)
      return taken
    case .enqueue:
      burst.rearm()
      return ring.enqueueBurst(
        from: burst, first: 0, memory: view, headerLength: RingCase.headerLength,
        mergeable: isMergeable)
    }
  }

  /// A byte of a packet of the burst, its header included.
  func byte(_ index: Int, of packet: Int) -> UInt8 {
    burst.withPayload(packet, headerLength: 0) { $0[index] }
  }
}

/// A turn of ``SwiftDevice`` that callgrind counts; it knows it by its name.
@inline(never) func countedTurn(_ device: inout SwiftDevice) -> Int { device.turn() }
