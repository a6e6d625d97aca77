import Foundation

/// A packet capture file in the classic format (not pcapng), as libpcap reads and writes it.
package struct Pcap: Hashable, Sendable {
  /// One packet of it.
  package struct Packet: Hashable, Sendable {
    /// Seconds since the epoch.
    package var seconds: UInt32
    /// Microseconds or nanoseconds, as the file says.
    package var fraction: UInt32
    /// The packet's length in bytes before it was cut to `bytes`.
    package var originalLength: UInt32
    package var bytes: [UInt8]

    package init(bytes: [UInt8], seconds: UInt32 = 0, fraction: UInt32 = 0) {
      self.bytes = bytes
      self.seconds = seconds
      self.fraction = fraction
      originalLength = UInt32(bytes.count)
    }
  }

  /// The unit of the fractions; it is the file's magic number.
  package enum Precision: UInt32, Sendable {
    case microseconds = 0xa1b2_c3d4
    case nanoseconds = 0xa1b2_3c4d
  }

  package var precision = Precision.microseconds
  /// The length in bytes beyond which packets are cut.
  package var snapLength: UInt32 = 65535
  /// 1 is Ethernet.
  package var linkType: UInt32 = 1
  package var packets: [Packet] = []

  package init(frames: [[UInt8]] = []) {
    packets = frames.enumerated().map { Packet(bytes: $1, fraction: UInt32($0 % 1_000_000)) }
  }

  /// The packets' bytes.
  package var frames: [[UInt8]] { packets.map(\.bytes) }

  /// No packet of a capture is longer (libpcap's MAXIMUM_SNAPLEN).
  private static let longest = 262_144

  // MARK: Reading

  /// Reads a file's bytes, of either byte order.
  package init(parsing bytes: [UInt8]) throws(PeerError) {
    func bad(_ what: String) -> PeerError { PeerError(.badFile, "not a capture file: \(what)") }
    guard bytes.count >= 24 else { throw bad("\(bytes.count) bytes are shorter than the header") }
    func little(_ offset: Int) -> UInt32 {
      (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * UInt32($1)) }
    }
    let magic = little(0)
    let swapped: Bool
    if let precision = Precision(rawValue: magic) {
      (self.precision, swapped) = (precision, false)
    } else if let precision = Precision(rawValue: magic.byteSwapped) {
      (self.precision, swapped) = (precision, true)
    } else {
      throw bad("magic number \(String(magic, radix: 16))")
    }
    func word(_ offset: Int) -> UInt32 { swapped ? little(offset).byteSwapped : little(offset) }
    snapLength = word(16)
    linkType = word(20) & 0xffff
    var offset = 24
    while offset < bytes.count {
      guard bytes.count - offset >= 16 else { throw bad("cut off in the packet header at byte \(offset)") }
      let length = Int(word(offset + 8))
      guard length <= Pcap.longest else { throw bad("a packet of \(length) bytes at byte \(offset)") }
      guard bytes.count - offset - 16 >= length else { throw bad("cut off in the packet at byte \(offset)") }
      var packet = Packet(
        bytes: Array(bytes[offset + 16..<offset + 16 + length]), seconds: word(offset), fraction: word(offset + 4))
      packet.originalLength = word(offset + 12)
      packets.append(packet)
      offset += 16 + length
    }
  }

  /// Reads a file.
  package init(contentsOf path: String) throws(PeerError) {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw PeerError(.badFile, "\(path) cannot be read")
    }
    do {
      try self.init(parsing: [UInt8](data))
    } catch {
      throw PeerError(error.code, "\(path): \(error.message)")
    }
  }

  // MARK: Writing

  /// The file's bytes, little-endian.
  package func encoded() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(24 + packets.reduce(0) { $0 + 16 + $1.bytes.count })
    func word(_ value: UInt32) {
      for shift in stride(from: UInt32(0), to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }
    word(precision.rawValue)
    // Version 2.4; time zone and accuracy are always 0.
    word(0x0004_0002)
    word(0)
    word(0)
    word(snapLength)
    word(linkType)
    for packet in packets {
      word(packet.seconds)
      word(packet.fraction)
      word(UInt32(packet.bytes.count))
      word(packet.originalLength)
      bytes += packet.bytes
    }
    return bytes
  }

  /// Writes a file.
  package func write(to path: String) throws(PeerError) {
    guard FileManager.default.createFile(atPath: path, contents: Data(encoded())) else {
      throw PeerError(.badFile, "\(path) cannot be written")
    }
  }
}
