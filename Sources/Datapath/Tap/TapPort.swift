internal import SystemPackage
internal import VDPA
internal import Virtio

/// Connects a guest with the host's network through a queue of a TAP device.
///
/// What the guest sends is written at once, packet by packet. What the kernel does not take, because the link is down, or
/// the queue full, or the frame none, is dropped and counted, as a NIC does: waiting would keep the guest's buffers and the
/// worker from packets that can go. What comes for the guest is read only when it has buffers, so that the kernel drops
/// what is too much before it has cost anything here.
struct TapPort: NetPort {
  private let queue: TapQueue
  private var outlet = NetOutlet(PacketBurst())
  /// Whether the kernel sends packets to this queue.
  private var isAttached: Bool
  /// What the kernel was told that the guest takes.
  private var offloads: Features?
  private var isGone = false
  private var trouble: String?

  init(_ queue: TapQueue) {
    self.queue = queue
    isAttached = !queue.isDetachable
  }

  var wakeup: OwnedFD? { queue.descriptor }
  var followsReceiver: Bool { true }

  mutating func begin() { outlet.clear() }
  mutating func end() { outlet.clear() }

  mutating func receiverChanged(_ receiver: NetGuest?) {
    guard let receiver else {
      outlet.clear()
      offloads = nil
      // The other queues get its share of the packets.
      attach(false)
      return
    }
    let wanted = receiver.features.intersection(.netGuestOffloads)
    if offloads == nil && !queue.isDetachable { queue.drain() }
    if offloads != wanted {
      // Should the kernel not do as it is told, the packets are completed here.
      if let error = queue.setOffloads(for: receiver) { note("does not take the guest's offloads", error) }
      offloads = wanted
    }
    attach(true)
  }

  private mutating func attach(_ wanted: Bool) {
    guard queue.isDetachable, wanted != isAttached else { return }
    if let error = queue.setAttached(wanted) {
      note("cannot be \(wanted ? "given packets" : "taken out")", error)
    } else {
      isAttached = wanted
    }
  }

  mutating func announce(_ frame: [UInt8]) {
    let packet = [UInt8](repeating: 0, count: NetHeader.modernLength) + frame
    _ = queue.write(packet.span)
  }

  mutating func serve(_ receive: inout NetVring?, _ transmit: inout NetVring?, _ burst: PacketBurst) -> Int {
    let sent = send(&transmit, burst)
    let delivered = deliver(&receive)
    if let trouble, let observer = receive?.observer ?? transmit?.observer {
      self.trouble = nil
      observer.deviceReports(.requestsFail(index: receive?.index ?? transmit?.index ?? 0, reason: trouble))
    }
    return sent + delivered
  }

  private mutating func send(_ transmit: inout NetVring?, _ burst: PacketBurst) -> Int {
    guard let taken = transmit?.dequeue(into: burst, limit: PacketBurst.capacity), taken > 0 else { return 0 }
    let invalid = transmit?.invalid ?? 0
    transmit?.complete(burst, count: taken, taken: taken)
    burst.setHeaderLength(NetHeader.modernLength)
    var dropped = 0
    for i in 0..<taken where burst[i].outcome == .pending && invalid & 1 &<< UInt64(i) == 0 {
      guard !isGone else {
        dropped &+= 1
        continue
      }
      switch burst.withPayload(i, headerLength: 0, { queue.write($0.span) }) {
      case .done: break
      case .again, .refused: dropped &+= 1
      case .gone:
        dropped &+= 1
        lose()
      }
    }
    if dropped > 0 { transmit?.counters.add(.dropped, dropped) }
    return taken
  }

  private mutating func deliver(_ receive: inout NetVring?) -> Int {
    guard receive?.isEnabled == true else { return 0 }
    if outlet.packets.count == 0 {
      guard !isGone, let room = receive?.pending(), room > 0 else { return 0 }
      read(min(room, PacketBurst.capacity))
    }
    return outlet.deliver(to: &receive)
  }

  private mutating func read(_ limit: Int) {
    for _ in 0..<limit {
      switch queue.read(into: outlet.packets) {
      case .done, .refused: continue
      case .again: return
      case .gone: return lose()
      }
    }
  }

  // Its words are made once, and not where packets are.
  @inline(never) private mutating func lose() {
    isGone = true
    trouble =
      "the TAP device \(queue.name) has been deleted: what the guest sends is dropped; make the device again and restart "
      + "this back-end"
  }

  private mutating func note(_ what: String, _ error: Errno) {
    trouble = "the TAP device \(queue.name) \(what) (\(error))"
  }
}
