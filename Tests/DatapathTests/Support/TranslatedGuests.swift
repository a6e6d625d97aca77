import NetTestSupport
import Virtio

@testable import Datapath

/// A packet as it stands behind its header, or in front of a guest.
struct OffloadPacket: Equatable {
  var header = NetHeader()
  var frame: [UInt8]

  /// A packet behind that header, one that asks for nothing unless said otherwise.
  init(whole frame: [UInt8], behind header: NetHeader = NetHeader()) {
    self.header = header
    self.frame = frame
  }

  /// A large packet with the header that asks for segments of that size.
  init(_ frame: TCPFrame, size: Int) {
    header = NetHeader(
      flags: 1, gsoType: frame.isIPv6 ? 4 : 1, headerLength: UInt16(frame.headerLength), gsoSize: UInt16(size),
      checksumStart: UInt16(frame.transport), checksumOffset: 16)
    self.frame = frame.bytes
  }

  /// A packet whose checksum is left to the device.
  init(unfinished frame: TCPFrame) {
    header = NetHeader(flags: 1, checksumStart: UInt16(frame.transport), checksumOffset: 16)
    self.frame = frame.bytes
  }
}

/// A guest that sends and one that receives, with a translation between them and no rings: packets wait in an array, and
/// the receiver takes as many as there is room for.
struct TranslatedGuests {
  let receiver: NetGuest
  var translation: NetTranslation
  /// What the sender has sent and not got back.
  var waiting: [OffloadPacket] = []
  /// What the receiver has got.
  var received: [OffloadPacket] = []
  /// The bursts that were offered to the receiver in the last turn.
  var offered: [PacketBurst] = []
  /// How many packets the sender has got back: the position of the next one.
  var returned = 0
  let burst = PacketBurst()
  let segments = PacketBurst()

  static let modern: Features = [.version1, .netMergeableBuffers]
  static let configuration = NetConfiguration(mac: .zero)

  init(from sender: Features, to receiver: Features, configuration: NetConfiguration = configuration) {
    self.receiver = NetGuest(features: receiver, configuration: configuration)
    translation = NetTranslation(sender: NetGuest(features: sender, configuration: configuration))
  }

  /// Takes packets from the sender as a ring does, as many as a burst holds.
  mutating func take() {
    burst.clear()
    let headerLength = translation.sender.headerLength
    for packet in waiting {
      guard
        burst.append(
          length: packet.frame.count, headerLength: headerLength,
          { payload in
            for (i, byte) in packet.frame.enumerated() { payload[i] = byte }
          })
      else { break }
      burst.withPayload(burst.count - 1, headerLength: 0) { packet.header.encode(into: &$0, length: headerLength) }
    }
    translation.inbound(burst)
  }

  /// One turn of a port: what is not finished goes back.
  mutating func turn(room: Int) -> NetTranslation.Progress {
    take()
    let headerLength = receiver.headerLength
    let position = returned
    var room = room
    var received: [OffloadPacket] = []
    var offered: [PacketBurst] = []
    let progress = translation.outbound(
      burst, chain: { UInt16(truncatingIfNeeded: position + $0) }, to: receiver, through: segments
    ) { given in
      offered.append(given)
      let taken = min(room, given.count)
      for i in 0..<taken where given[i].outcome == .pending {
        received.append(TranslatedGuests.packet(given, i, headerLength: headerLength))
      }
      room -= taken
      return taken
    }
    self.offered = offered
    self.received += received
    waiting.removeFirst(progress.finished)
    returned += progress.finished
    return progress
  }

  /// Turns until nothing is waiting, as long as there is progress and not for ever.
  ///
  /// - Returns: How many turns; nil if packets are still waiting.
  mutating func run(_ room: () -> Int) -> Int? {
    for turns in 0..<1000 {
      if waiting.isEmpty { return turns }
      if turn(room: room()) == .init() { return nil }
    }
    return nil
  }

  /// A packet of a burst.
  static func packet(_ burst: PacketBurst, _ index: Int, headerLength: Int) -> OffloadPacket {
    let header = burst.withPayload(index, headerLength: 0) { NetHeader(decoding: $0.span, length: headerLength) }
    let frame = burst.withPayload(index, headerLength: headerLength) { span in
      var bytes: [UInt8] = []
      for i in 0..<span.count { bytes.append(span[i]) }
      return bytes
    }
    return OffloadPacket(whole: frame, behind: header)
  }
}
