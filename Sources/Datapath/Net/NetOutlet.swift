internal import Virtio

/// Packets from elsewhere on their way to a guest: kept while it has no buffers for them, and completed or cut into segments
/// as far as it does not do that itself.
///
/// Each has a header of ``NetHeader/modernLength`` bytes that says what is left to be done; it is checked like that of any
/// guest. Belongs to one thread at a time.
struct NetOutlet {
  /// What waits, in order. More is added when this is empty.
  let packets: PacketBurst
  private let segments = PacketBurst()
  private var translation = NetTranslation(sender: NetOutlet.sender)

  /// Whoever can ask for all that there is.
  private static let sender = NetGuest(features: Features.netHostOffloads.union(.version1))

  init(_ packets: PacketBurst) {
    self.packets = packets
    packets.setHeaderLength(NetHeader.modernLength)
  }

  /// Drops what waits.
  mutating func clear() {
    packets.clear()
    translation.forget()
  }

  /// Gives the guest what waits, as far as it has buffers.
  ///
  /// - Returns: How many packets and segments were given, or dropped for good.
  mutating func deliver(to receive: inout NetVring?) -> Int {
    guard packets.count > 0, let guest = receive?.receiver else { return 0 }
    packets.setHeaderLength(NetHeader.modernLength)
    translation.inbound(packets)
    // What is delivered in part stays the first one, so that any name will do for it.
    let progress = translation.outbound(packets, chain: { _ in 0 }, to: guest, through: segments) {
      receive?.enqueue($0, keepsHeaders: true) ?? 0
    }
    let invalid = translation.droppedCount(of: progress.finished)
    if invalid > 0 {
      receive?.counters.add(.invalidHeaders, invalid)
      receive?.counters.add(.dropped, invalid)
    }
    packets.removeFirst(progress.finished)
    return max(progress.finished, progress.delivered)
  }
}
