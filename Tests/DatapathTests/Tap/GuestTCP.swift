import NetTestSupport
import Testing
import Virtio

/// The least of a TCP that a guest needs to talk to a kernel which loses nothing: it takes one connection, acknowledges what
/// comes in order, and sends what it is given. Frames are taken apart and built byte by byte, every checksum is verified.
struct GuestTCP {
  private(set) var received: [UInt8] = []
  /// The longest frame that came, and whether any came without its checksum.
  private(set) var longestFrame = 0
  private(set) var hasUnfinished = false
  private(set) var isEnded = false
  private(set) var acknowledged: UInt32 = 0
  private var peerPort = 0
  private var next: UInt32 = 0
  private(set) var sent: UInt32 = 1_000_000

  /// Takes a packet.
  ///
  /// - Returns: The answers.
  mutating func take(_ packet: OffloadPacket) throws -> [OffloadPacket] {
    let frame = packet.frame
    guard frame.count >= 54, frame[12] == 8, frame[13] == 0, frame[23] == 6 else { return [] }
    longestFrame = max(longestFrame, frame.count)
    let total = Int(frame[16]) << 8 | Int(frame[17])
    let segment = Array(frame[34..<14 + total])
    let pseudo = PlainChecksum.pseudoHeader(frame[26..<34], next: 6, length: segment.count)
    #expect(PlainChecksum.sum(frame[14..<34]) == 0xffff)
    if packet.header.flags & NetHeader.needsChecksum != 0 {
      hasUnfinished = true
      #expect(packet.header.checksumStart == 34 && packet.header.checksumOffset == 16)
      #expect([segment[16], segment[17]] == PlainChecksum.word(Int(pseudo)))
    } else {
      #expect(PlainChecksum.sum(PlainChecksum.word(Int(pseudo)) + segment) == 0xffff)
      #expect(frame.count <= 1514)
    }
    func word(_ at: Int) -> UInt32 { (0..<4).reduce(0) { $0 << 8 | UInt32(segment[at + $1]) } }
    let flags = segment[13]
    if flags & 0x02 != 0 {
      peerPort = Int(segment[0]) << 8 | Int(segment[1])
      next = word(4) &+ 1
      let answer = make(0x12, [], options: [2, 4, 5, 0xb4])
      sent &+= 1
      return [answer]
    }
    acknowledged = word(8)
    let payload = segment[(Int(segment[12] >> 4) * 4)...]
    guard !payload.isEmpty || flags & 1 != 0 else { return [] }
    try #require(word(4) == next, "a segment is missing or came twice")
    received += payload
    next &+= UInt32(payload.count)
    if flags & 1 != 0 {
      isEnded = true
      next &+= 1
    }
    return [make(0x10, [])]
  }

  /// A packet with so much of the guest's data, in segments of 1448 bytes that the device is to make.
  mutating func send(_ payload: [UInt8], offloads: Bool) -> OffloadPacket {
    var packet = make(0x18, payload)
    if offloads {
      let pseudo = PlainChecksum.pseudoHeader(packet.frame[26..<34], next: 6, length: 20 + payload.count)
      packet.frame.replaceSubrange(50..<52, with: PlainChecksum.word(Int(pseudo)))
      packet.header = NetHeader(
        flags: 1, gsoType: payload.count > 1448 ? 1 : 0, headerLength: 54, gsoSize: payload.count > 1448 ? 1448 : 0,
        checksumStart: 34, checksumOffset: 16)
    }
    sent &+= UInt32(payload.count)
    return packet
  }

  private func make(_ flags: UInt8, _ payload: [UInt8], options: [UInt8] = []) -> OffloadPacket {
    func long(_ value: UInt32) -> [UInt8] {
      PlainChecksum.word(Int(value >> 16)) + PlainChecksum.word(Int(value & 0xffff))
    }
    let addresses = TapStation.address + TapStation.host
    var segment = PlainChecksum.word(7000) + PlainChecksum.word(peerPort) + long(sent) + long(next)
    segment += [UInt8((20 + options.count) / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0] + options + payload
    let pseudo = PlainChecksum.pseudoHeader(addresses, next: 6, length: segment.count)
    let sum = PlainChecksum.sum(PlainChecksum.word(Int(pseudo)) + segment)
    segment.replaceSubrange(16..<18, with: PlainChecksum.word(Int(~sum)))
    var ip: [UInt8] = [0x45, 0] + PlainChecksum.word(20 + segment.count) + [0, 1, 0x40, 0, 64, 6, 0, 0] + addresses
    ip.replaceSubrange(10..<12, with: PlainChecksum.word(Int(~PlainChecksum.sum(ip))))
    // The host's address is whatever its device has; a broadcast reaches no TCP, so it is learned from the first frame.
    return OffloadPacket(whole: hostAddress + TapStation.mac + [8, 0] + ip + segment)
  }

  /// The Ethernet address of the host's side.
  var hostAddress: [UInt8] = []
}
