import Testing

@testable import Datapath

struct EchoPortTests {
  private static let guest: [UInt8] = [0x52, 0x54, 0, 0x12, 0x34, 0x56]
  private static let port: [UInt8] = [0x02, 0x76, 0x64, 0x70, 0x61, 0x01]
  private static let guestAddress: [UInt8] = [10, 0, 0, 1]
  private static let asked: [UInt8] = [10, 0, 0, 99]

  /// What the port makes of a frame; nil when it does not answer.
  private func answer(_ frame: [UInt8]) -> [UInt8]? {
    var frame = frame
    var span = frame.mutableSpan
    return EchoPort.answer(&span) ? frame : nil
  }

  private static let arp: [UInt8] =
    Array(repeating: 0xff, count: 6) + guest + [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1] + guest + guestAddress
    + Array(repeating: 0, count: 6) + asked

  @Test("Who asks for its own address, or has none yet, gets no answer: it would look like a conflict")
  func addressProbes() {
    var probe = Self.arp
    for i in 28..<32 { probe[i] = 0 }
    #expect(answer(probe) == nil)
    var announcement = Self.arp
    for i in 0..<4 { announcement[38 + i] = Self.guestAddress[i] }
    #expect(answer(announcement) == nil)
    #expect(answer(Self.arp) != nil)
  }

  /// An echo request of RFC 792 with right checksums.
  private static func ping(
    _ payload: [UInt8], options: [UInt8] = [], trailer: [UInt8] = [], to destination: [UInt8] = port
  ) -> [UInt8] {
    var icmp: [UInt8] = [8, 0, 0, 0, 0x12, 0x34, 0, 7] + payload
    let sum = checksum(icmp)
    (icmp[2], icmp[3]) = (UInt8(sum >> 8), UInt8(sum & 0xff))
    let total = 20 + options.count + icmp.count
    var header: [UInt8] =
      [
        0x40 | UInt8((20 + options.count) / 4), 0, UInt8(total >> 8), UInt8(total & 0xff), 0x12, 0x34, 0x40, 0, 64, 1,
        0,
        0,
      ] + guestAddress + asked + options
    let headerSum = checksum(header)
    (header[10], header[11]) = (UInt8(headerSum >> 8), UInt8(headerSum & 0xff))
    return destination + guest + [0x08, 0x00] + header + icmp + trailer
  }

  /// RFC 1071; 0 over data that carries its own checksum.
  private static func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for i in stride(from: 0, to: bytes.count, by: 2) {
      sum += UInt32(bytes[i]) << 8 | (i + 1 < bytes.count ? UInt32(bytes[i + 1]) : 0)
    }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    return ~UInt16(sum)
  }

  @Test("An ARP request is answered for the address that it asks for")
  func arp() throws {
    let reply = try #require(answer(EchoPortTests.arp + Array(repeating: 0, count: 18)))
    #expect(Array(reply[0..<6]) == EchoPortTests.guest)
    #expect(Array(reply[6..<12]) == EchoPortTests.port)
    #expect(Array(reply[12..<22]) == [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2])
    #expect(Array(reply[22..<32]) == EchoPortTests.port + EchoPortTests.asked)
    #expect(Array(reply[32..<42]) == EchoPortTests.guest + EchoPortTests.guestAddress)
    #expect(reply.count == 60)
  }

  @Test("An echo request comes back as a reply with right checksums", arguments: [0, 1, 2, 3, 55, 56, 57, 1471, 1472])
  func icmp(length: Int) throws {
    let payload = (0..<length).map { UInt8(truncatingIfNeeded: $0 * 7) }
    let reply = try #require(answer(EchoPortTests.ping(payload)))
    #expect(Array(reply[0..<12]) == EchoPortTests.guest + EchoPortTests.port)
    #expect(Array(reply[26..<34]) == EchoPortTests.asked + EchoPortTests.guestAddress)
    #expect(EchoPortTests.checksum(Array(reply[14..<34])) == 0)
    #expect(reply[34] == 0 && reply[35] == 0)
    #expect(EchoPortTests.checksum(Array(reply[34...])) == 0)
    #expect(Array(reply[38...]) == [0x12, 0x34, 0, 7] + payload)
  }

  @Test("The checksum is right whatever it was, at the carries of one's complement too")
  func sums() throws {
    for high in UInt8.min...UInt8.max {
      for low: UInt8 in [0, 1, 0x7f, 0x80, 0xfe, 0xff] {
        let reply = try #require(answer(EchoPortTests.ping([high, low])))
        #expect(EchoPortTests.checksum(Array(reply[34...])) == 0, "payload \(high) \(low)")
      }
    }
  }

  @Test("IP options and a frame's padding are passed over")
  func options() throws {
    let options: [UInt8] = [1, 1, 1, 0]
    let frame = EchoPortTests.ping([1, 2, 3], options: options, trailer: [0xaa, 0xbb])
    let reply = try #require(answer(frame))
    #expect(EchoPortTests.checksum(Array(reply[14..<38])) == 0)
    #expect(EchoPortTests.checksum(Array(reply[38..<49])) == 0)
    #expect(Array(reply.suffix(2)) == [0xaa, 0xbb])
  }

  @Test("A group's address does not become a source address")
  func broadcast() throws {
    let reply = try #require(answer(EchoPortTests.ping([], to: Array(repeating: 0xff, count: 6))))
    #expect(Array(reply[6..<12]) == EchoPortTests.port)
  }

  @Test("A frame that ends early is no request, wherever it ends")
  func truncated() {
    for count in 0..<EchoPortTests.arp.count { #expect(answer(Array(EchoPortTests.arp.prefix(count))) == nil) }
    let ping = EchoPortTests.ping([1, 2, 3, 4])
    for count in 0..<ping.count { #expect(answer(Array(ping.prefix(count))) == nil, "\(count) bytes") }
  }

  @Test("Every length and every flag that cannot be right leaves the frame alone")
  func hostile() {
    func changed(_ frame: [UInt8], _ changes: (Int, UInt8)...) -> [UInt8] {
      var frame = frame
      for (offset, value) in changes { frame[offset] = value }
      return frame
    }
    let ping = EchoPortTests.ping([1, 2, 3, 4])
    // Header lengths below 20 bytes and beyond the frame; other versions.
    for first: UInt8 in [0x40, 0x44, 0x4f, 0x55, 0x65, 0x05] { #expect(answer(changed(ping, (14, first))) == nil) }
    // Total lengths: none, less than the headers, more than the frame.
    for (high, low): (UInt8, UInt8) in [(0, 0), (0, 20), (0, 27), (0, 33), (0xff, 0xff), (0x80, 0)] {
      #expect(answer(changed(ping, (16, high), (17, low))) == nil)
    }
    // Fragments, first and later ones.
    for (high, low): (UInt8, UInt8) in [(0x20, 0), (0, 1), (0x1f, 0xff)] {
      #expect(answer(changed(ping, (20, high), (21, low))) == nil)
    }
    // Other protocols, types and codes; other frames.
    #expect(answer(changed(ping, (23, 17))) == nil)
    for type: UInt8 in [0, 3, 9, 13] { #expect(answer(changed(ping, (34, type))) == nil) }
    #expect(answer(changed(ping, (35, 1))) == nil)
    #expect(answer(changed(ping, (12, 0x86), (13, 0xdd))) == nil)
    for offset in 14..<22 {
      #expect(answer(changed(EchoPortTests.arp, (offset, 0x77))) == nil, "offset \(offset)")
    }
    // An ARP reply is no request.
    #expect(answer(changed(EchoPortTests.arp, (21, 2))) == nil)
  }

  @Test("Random frames are answered or not, and nothing else happens")
  func random() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<20_000 {
      let length = Int.random(in: 0...80, using: &generator)
      var frame = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
      if length > 24, Bool.random() {
        // Near enough to a request to come past the first checks.
        (frame[12], frame[13], frame[14], frame[23]) = (0x08, 0, 0x40 | frame[14] & 0x0f, 1)
      }
      #expect(answer(frame)?.count ?? length == length)
    }
  }
}
