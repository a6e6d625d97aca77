internal import Virtio

@testable internal import Datapath

/// Packets with headers of a guest's making, on their way to another guest that has negotiated something else.
final class OffloadTarget: FuzzTarget {
  private let burst = PacketBurst()
  private let segments = PacketBurst()

  /// The bits of an input that stand for offloads, of the sender and of the receiver.
  private static let host: [Features] = [.netChecksum, .netHostTSO4, .netHostTSO6, .netHostECN]
  private static let guest: [Features] = [.netGuestChecksum, .netGuestTSO4, .netGuestTSO6, .netGuestECN]
  /// The most bytes of a packet.
  private static let maxFrame = 9000

  func run(_ input: FuzzInput) {
    let sender = OffloadTarget.guest(input.lag, OffloadTarget.host, input.placeOffset)
    let receiver = OffloadTarget.guest(input.lag >> 8, OffloadTarget.guest, input.placeOffset >> 8)
    var translation = NetTranslation(sender: sender)
    fill(input, headerLength: sender.headerLength)
    // What was taken twice, as after a burst that did not fit, has to come to the same.
    for _ in 0..<Int(input.rounds % 4) + 1 {
      for i in 0..<burst.count where burst[i].outcome != .pending { burst.rearm() }
      translation.inbound(burst)
      let progress = translation.outbound(burst, chain: { UInt16($0) }, to: receiver, through: segments) {
        take($0, receiver, room: Int(input.size))
      }
      Oracle.require(progress.finished <= burst.count, "\(progress.finished) of \(burst.count) packets are finished")
      burst.removeFirst(progress.finished)
    }
  }

  private static func guest(_ bits: UInt16, _ offloads: [Features], _ mtu: UInt16) -> NetGuest {
    var features: Features = bits & 16 == 0 ? .version1 : []
    for (i, feature) in offloads.enumerated() where bits & 1 << i != 0 { features.insert(feature) }
    if bits & 32 != 0 { features.insert(.netMTU) }
    guard let mac = MACAddress(bytes: [2, 0, 0, 0, 0, 1]) else { preconditionFailure("six bytes are an address") }
    return NetGuest(
      features: features, configuration: NetConfiguration(mac: mac, mtu: 68 + (mtu & 0xff) * 37))
  }

  /// A packet for each record that has the walker's bit: the header. Seven bytes of each of the others behind it are its
  /// start; what follows does not matter.
  private func fill(_ input: FuzzInput, headerLength: Int) {
    burst.clear()
    var header: NetHeader?
    var length = 0
    var bytes: [UInt8] = []
    func add() {
      guard let header else { return }
      let wanted = min(max(length, bytes.count), OffloadTarget.maxFrame)
      let isAdded = burst.append(length: wanted, headerLength: headerLength) { frame in
        for i in 0..<wanted { frame[i] = i < bytes.count ? bytes[i] : UInt8(truncatingIfNeeded: i) }
      }
      if isAdded { burst.setHeader(header, of: burst.count - 1) }
    }
    for record in input.records {
      guard record.isStep else {
        bytes += record.bytes[1...]
        continue
      }
      add()
      bytes = []
      length = Int(record.e & 0x3fff)
      header = NetHeader(
        flags: record.kind & 7, gsoType: record.a, gsoSize: UInt16(record.b) << (record.kind >> 3 & 7),
        checksumStart: UInt16(record.c), checksumOffset: record.d)
    }
    add()
  }

  /// What the receiver gets has to be what it can take.
  private func take(_ packets: PacketBurst, _ receiver: NetGuest, room: Int) -> Int {
    let taken = min(packets.count, room)
    for i in 0..<taken where packets[i].outcome == .pending {
      let header = packets.header(of: i)
      let length = packets.payloadLength(of: i)
      let isChecksumLeft = header.flags & NetHeader.needsChecksum != 0
      Oracle.require(
        !isChecksumLeft || receiver.features.contains(.netGuestChecksum), "a checksum is left to who cannot do it")
      Oracle.require(
        !isChecksumLeft || Int(header.checksumStart) + Int(header.checksumOffset) + 2 <= length,
        "a checksum outside of the packet")
      let kinds: [UInt8: Features] = [
        NetHeader.gsoNone: [], NetHeader.gsoTCPv4: .netGuestTSO4, NetHeader.gsoTCPv6: .netGuestTSO6,
      ]
      guard let needed = kinds[header.gsoType & ~NetHeader.gsoECN] else {
        Oracle.fail("gso_type \(header.gsoType), which nobody negotiates")
      }
      Oracle.require(receiver.features.contains(needed), "segmentation is left to who cannot do it")
      if header.gsoType == NetHeader.gsoNone {
        Oracle.require(length <= receiver.frameLength, "\(length) bytes, at most \(receiver.frameLength)")
      } else {
        Oracle.require(isChecksumLeft && header.gsoSize > 0, "segmentation without checksum or size")
      }
    }
    return taken
  }
}
