import Peers
import VDPA
import Virtio

/// Has the two codes do the same on the same memory, and takes the time.
struct RingMeasurement {
  let ringCase: RingCase
  /// How often the ring is filled and emptied a measurement.
  let laps: Int
  private let ground: RingGround

  init(_ ringCase: RingCase, laps: Int) throws {
    self.ringCase = ringCase
    self.laps = laps
    ground = try RingGround([ringCase])
  }

  private var ring: GuestRing { ground.rings[0] }

  /// How many packets a measurement has.
  var packets: Int { laps * ringCase.size }

  /// Nanoseconds a packet of one of the codes; the driver's are not among them.
  func nanoseconds(_ side: RingSide) throws -> Double {
    var total: UInt64 = 0
    func run(_ turn: () -> Int) throws {
      // The first lap has cold caches and predictors.
      for lap in 0...laps {
        ring.offer()
        let start = MonotonicClock.nanoseconds
        var moved = 0
        while moved < ringCase.size, case let count = turn(), count > 0 { moved += count }
        if lap > 0 { total += MonotonicClock.nanoseconds - start }
        try check(moved)
      }
    }
    ring.restart()
    switch side {
    case .swift:
      var device = try SwiftDevice(ground)
      try run { countedTurn(&device) }
    case .c:
      var device = try CDevice(ground)
      try run { countedTurn(&device) }
    }
    return Double(total) / Double(packets)
  }

  /// Moves so many bursts, for whoever counts instructions of `countedTurn`; a lap before is not to be counted and goes
  /// another way.
  func count(_ side: RingSide, bursts: Int) throws {
    ring.restart()
    func run(_ warm: () -> Int, _ counted: () -> Int) throws {
      let perLap = ringCase.size / PacketBurst.capacity
      var rest = bursts + perLap
      while rest > 0 {
        ring.offer()
        var moved = 0
        for _ in 0..<perLap {
          moved += rest > bursts || rest <= 0 ? warm() : counted()
          rest -= 1
        }
        try check(moved)
      }
    }
    switch side {
    case .swift:
      var device = try SwiftDevice(ground)
      try run({ device.turn() }, { countedTurn(&device) })
    case .c:
      var device = try CDevice(ground)
      try run({ device.turn() }, { countedTurn(&device) })
    }
  }

  private func check(_ moved: Int) throws {
    guard moved == ringCase.size else {
      throw PeerError(.invalidRun, "\(ringCase.name): \(moved) of \(ringCase.size) packets were moved")
    }
    try ring.collect()
  }

  /// Moves a lap with known bytes and looks at each of them.
  ///
  /// - Throws: ``PeerError``, when one is not what it should be.
  func verify(_ side: RingSide) throws {
    ring.restart()
    for packet in 0..<ringCase.size {
      _ = ring.withBuffer(packet) { bytes in
        for i in bytes.indices {
          let payload = GuestRing.byte(i - RingCase.headerLength, of: packet)
          bytes[i] = ringCase.direction == .enqueue ? 0xee : i < RingCase.headerLength ? 0 : payload
        }
      }
    }
    ring.offer()
    var moved = 0
    func run(_ turn: () -> Int, _ byte: (Int, Int) -> UInt8) throws {
      while moved < ringCase.size, case let count = turn(), count > 0 {
        for packet in 0..<count {
          for i in 0..<RingCase.headerLength + ringCase.bytes {
            let isHeader = i < RingCase.headerLength
            let found: UInt8?
            let expected: UInt8
            switch ringCase.direction {
            case .dequeue:
              found = byte(i, packet)
              expected = isHeader ? 0 : GuestRing.byte(i - RingCase.headerLength, of: moved + packet)
            case .enqueue:
              found = ring.withBuffer(moved + packet) { $0[i] }
              // One buffer, in a header of zeros otherwise.
              expected = isHeader ? (i == 10 ? 1 : 0) : GuestRing.byte(i - RingCase.headerLength, of: packet)
            }
            guard found == expected else {
              throw PeerError(.invalidRun, "\(ringCase.name), \(side): byte \(i) of packet \(moved + packet) is wrong")
            }
          }
        }
        moved += count
      }
    }
    switch side {
    case .swift:
      var device = try SwiftDevice(ground)
      try run({ device.turn() }, { device.byte($0, of: $1) })
    case .c:
      var device = try CDevice(ground)
      try run({ device.turn() }, { device.byte($0, of: $1) })
    }
    try check(moved)
  }
}
