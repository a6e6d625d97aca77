import CRingLoop
import Peers

/// The device side of a ring, in C.
@safe struct CDevice: ~Copyable {
  private let ground: RingGround
  private let ringCase: RingCase
  private var ring: cring
  private var view: cring_view
  private let burst: UnsafeMutablePointer<cring_burst>

  /// Serves the first ring.
  init(_ ground: RingGround) throws {
    self.ground = ground
    ringCase = ground.rings[0].ringCase
    unsafe ring = ground.rings[0].cRing()
    unsafe view = cring_view(regions: ground.regions.baseAddress, count: ground.regions.count, last: 0)
    guard let burst = unsafe cring_burst_create() else { throw PeerError(.invalidRun, "no memory for a burst") }
    unsafe self.burst = unsafe burst
    guard ringCase.direction == .enqueue else { return }
    for i in 0..<Int(CRING_BURST) {
      let payload = unsafe cring_burst_append(burst, RingCase.headerLength, ringCase.bytes)
      for byte in 0..<ringCase.bytes { unsafe payload?[byte] = GuestRing.byte(byte, of: i) }
    }
  }

  deinit {
    unsafe cring_burst_free(burst)
  }

  /// Moves a burst of packets; returns how many they were.
  @inline(__always) mutating func turn() -> Int {
    switch ringCase.direction {
    case .dequeue:
      unsafe cring_burst_clear(burst)
      let taken = unsafe cring_dequeue(&ring, burst, Int(CRING_BURST), &view, RingCase.headerLength)
      unsafe cring_complete(&ring, burst, 0, taken)
      return taken
    case .enqueue:
      unsafe cring_burst_rearm(burst)
      return unsafe cring_enqueue(&ring, burst, 0, &view, RingCase.headerLength, ringCase.isMergeable)
    }
  }

  /// A byte of a packet of the burst, its header included.
  func byte(_ index: Int, of packet: Int) -> UInt8 {
    let packets = unsafe UnsafeRawPointer(burst).advanced(by: MemoryLayout<cring_burst>.offset(of: \.packets) ?? 0)
      .assumingMemoryBound(to: cring_packet.self)
    return unsafe burst.pointee.arena[packets[packet].start + index]
  }
}

/// A turn of ``CDevice`` that callgrind counts; it knows it by its name.
@inline(never) func countedTurn(_ device: inout CDevice) -> Int { device.turn() }
