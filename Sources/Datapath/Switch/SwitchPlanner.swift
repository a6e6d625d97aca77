internal import Virtio

/// Where a packet goes.
enum SwitchRoute: Equatable {
  case drop
  case flood
  case port(UInt16)
}

/// Decides for the packets of one burst, one after the other; most have the addresses of the one before.
struct SwitchPlanner {
  private let port: Int
  private let now: UInt32
  private var source: UInt64 = 0
  private var destination: UInt64 = 0
  private var route = SwitchRoute.drop

  init(port: Int, now: UInt32) {
    self.port = port
    self.now = now
  }

  private static let addressMask: UInt64 = 0xffff_ffff_ffff
  /// 01:80:C2:00:00:00 to 0F, in memory order, without the last digit.
  private static let reserved: UInt64 = 0x0000_00c2_8001
  private static let reservedMask: UInt64 = 0xf0ff_ffff_ffff

  mutating func route(
    _ burst: PacketBurst, _ packet: Int, _ table: inout SwitchTable, _ counters: inout SwitchCounters
  ) -> SwitchRoute {
    counters.received &+= 1
    let (to, from) = burst.withPayload(of: packet) { frame -> (UInt64, UInt64) in
      guard frame.count >= EthernetFrame.headerLength else { return (0, 0) }
      let mask = Self.addressMask
      return (EthernetFrame.word(frame.span, 0) & mask, EthernetFrame.word(frame.span, 6) & mask)
    }
    // An address of a group, or none, is nobody's (IEEE 802.3, 3.2.3); nor are the bytes of a frame that has none.
    guard from != 0, from & 1 == 0 else {
      counters.invalid &+= 1
      return .drop
    }
    if from == source && to == destination {
      return take(&counters)
    }
    if from != source {
      switch table.learn(from, at: port, now: now) {
      case .known: break
      case .new: counters.learned &+= 1
      case .moved:
        counters.learned &+= 1
        counters.moved &+= 1
      case .refused: counters.refused &+= 1
      }
    }
    (source, destination) = (from, to)
    if to & 1 != 0 {
      route = to & Self.reservedMask == Self.reserved ? .drop : .flood
    } else if let port = table.find(to, now: now) {
      route = .port(UInt16(port))
    } else {
      route = .flood
    }
    return take(&counters)
  }

  private func take(_ counters: inout SwitchCounters) -> SwitchRoute {
    switch route {
    case .drop: counters.reserved &+= 1
    case .flood: counters.flooded &+= 1
    case .port(UInt16(port)):
      counters.filtered &+= 1
      return .drop
    case .port: counters.forwarded &+= 1
    }
    return route
  }
}
