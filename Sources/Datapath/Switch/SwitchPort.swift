internal import VDPA
internal import Virtio

/// A queue pair at a switch: what its guest sends goes to the inboxes of others, what is in its own goes to the guest.
///
/// Packets keep the header that their sender has written, once it is checked; what a receiver does not do itself is done when
/// they are given to it. So no worker ever touches a ring of another one, and nobody waits for anybody: a packet that finds an
/// inbox full is dropped, and counted at the port that it was for.
struct SwitchPort: NetPort {
  /// How many bursts on the switch's pool there are for each pair.
  static let bursts = 3

  private let member: SwitchMember
  private let inbox: SwitchInbox
  private let pair: Int
  /// What the guest sends, and copies of it.
  private let incoming: PacketBurst
  private let copies: PacketBurst
  private var outlet: NetOutlet
  private var routes = [SwitchRoute](repeating: .drop, count: PacketBurst.capacity)

  init(_ member: SwitchMember, pair: Int) {
    self.member = member
    self.pair = pair
    inbox = member.inboxes[pair]
    incoming = PacketBurst(member.network.pool)
    copies = PacketBurst(member.network.pool)
    outlet = NetOutlet(PacketBurst(member.network.pool))
  }

  var wakeup: OwnedFD? { inbox.wakeup }
  var followsReceiver: Bool { true }

  mutating func begin() { outlet.clear() }

  mutating func end() {
    outlet.clear()
    member.network.forget(member.id)
  }

  mutating func receiverChanged(_ receiver: NetGuest?) {
    member.setOpen(pair, receiver != nil)
    if receiver == nil { outlet.clear() }
  }

  func wantWakeup() { inbox.wantWakeup() }

  mutating func announce(_ frame: [UInt8]) {
    incoming.clear()
    incoming.setHeaderLength(NetHeader.modernLength)
    guard incoming.append(frame) else { return }
    let plan = member.network.plan(incoming, 1, from: member.id, into: &routes)
    forward(1, to: plan.members)
  }

  mutating func serve(_ receive: inout NetVring?, _ transmit: inout NetVring?, _ burst: PacketBurst) -> Int {
    let delivered = deliver(&receive)
    return send(&transmit) + delivered
  }

  // MARK: To the guest

  private mutating func deliver(_ receive: inout NetVring?) -> Int {
    let overflowed = inbox.takeOverflowed()
    if overflowed > 0 { receive?.counters.add(.dropped, overflowed) }
    guard receive?.isEnabled == true else { return 0 }
    if outlet.packets.count == 0 {
      guard let room = receive?.pending(), room > 0 else { return 0 }
      inbox.take(into: outlet.packets, limit: min(room, PacketBurst.capacity))
    }
    return outlet.deliver(to: &receive)
  }

  // MARK: From the guest

  private mutating func send(_ transmit: inout NetVring?) -> Int {
    guard let taken = transmit?.dequeue(into: incoming, limit: PacketBurst.capacity), taken > 0 else { return 0 }
    var packets: NetTranslation.Packets = 0
    for i in 0..<taken where incoming[i].outcome == .pending { packets |= 1 &<< UInt64(i) }
    packets &= ~(transmit?.invalid ?? 0)
    let unfinished = transmit?.unfinished ?? 0
    let plan = member.network.plan(incoming, packets, from: member.id, into: &routes)
    transmit?.complete(incoming, count: plan.count, taken: taken)
    incoming.removeLast(taken - plan.count)
    packets &= PacketBurst.capacity == plan.count ? .max : (1 &<< UInt64(plan.count)) &- 1
    incoming.setHeaderLength(NetHeader.modernLength)
    // Nobody but the sender may learn what it left in a header that asks for nothing.
    incoming.setHeader(NetHeader(), ofEach: packets & ~unfinished)
    forward(packets, to: plan.members)
    return plan.count
  }

  /// Hands packets on as they were routed. Each group keeps its order.
  private mutating func forward(_ packets: NetTranslation.Packets, to members: SwitchMembership) {
    var rest = packets
    var unreachable = 0
    while rest != 0 {
      let first = rest.trailingZeroBitCount
      let route = routes[first]
      var group: NetTranslation.Packets = 0
      NetTranslation.forEach(rest) { if routes[$0] == route { group |= 1 &<< UInt64($0) } }
      rest &= ~group
      switch route {
      case .drop: break
      case .port(let port): unreachable += put(group, of: incoming, at: Int(port), members)
      case .flood: flood(group, members)
      }
    }
    if unreachable > 0 { member.network.countUnreachable(unreachable, from: member.id) }
    incoming.clear()
  }

  /// Puts packets into the inboxes of a port, those of a flow always into the same one.
  ///
  /// - Returns: How many met nobody.
  private func put(
    _ packets: NetTranslation.Packets, of burst: PacketBurst, at port: Int, _ members: SwitchMembership
  ) -> Int {
    let range = members.ranges[port]
    guard !range.isEmpty else { return packets.nonzeroBitCount }
    guard range.count > 1 else { return put(packets, of: burst, in: members.inboxes[range.lowerBound]) }
    var unreachable = 0
    var rest = packets
    while rest != 0 {
      // Packets of the flow of the first one go together; a burst has few flows.
      let first = choice(rest.trailingZeroBitCount, burst, range)
      var group: NetTranslation.Packets = 0
      NetTranslation.forEach(rest) { if choice($0, burst, range) == first { group |= 1 &<< UInt64($0) } }
      rest &= ~group
      unreachable += put(group, of: burst, in: members.inboxes[first])
    }
    return unreachable
  }

  private func choice(_ packet: Int, _ burst: PacketBurst, _ range: Range<Int>) -> Int {
    let flow = burst.withPayload(of: packet) { EthernetFrame.flow($0.span) }
    return range.lowerBound + Int((UInt64(flow) * UInt64(range.count)) >> 32)
  }

  private func put(_ packets: NetTranslation.Packets, of burst: PacketBurst, in inbox: SwitchInbox) -> Int {
    switch inbox.put(packets, of: burst) {
    case .done: 0
    case .closed: packets.nonzeroBitCount
    }
  }

  /// Gives packets to all other ports; the last one gets them without a copy.
  private func flood(_ packets: NetTranslation.Packets, _ members: SwitchMembership) {
    let last = members.ports.last { $0 != member.id }
    for port in members.ports where port != member.id {
      guard port != last else {
        _ = put(packets, of: incoming, at: port, members)
        return
      }
      copies.clear()
      copies.setHeaderLength(NetHeader.modernLength)
      copies.append(copiesOf: packets, from: incoming)
      _ = put(copies.count == 0 ? 0 : .max &>> UInt64(64 - copies.count), of: copies, at: port, members)
    }
    copies.clear()
  }
}
