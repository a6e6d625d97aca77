internal import Virtio

extension OffloadTarget {
  private static let ethernet: [UInt8] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]
  private static let tcp: [UInt8] = [0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x99, 1, 0, 0, 0, 0, 0]

  /// A TCP packet over IPv4 whose length is right.
  private static func overIPv4(length: Int, tag: [UInt8] = []) -> [UInt8] {
    let total = length - 14 - tag.count
    let network: [UInt8] = [
      0x45, 0, UInt8(total >> 8), UInt8(total & 0xff), 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]
    return ethernet + tag + [8, 0] + network + tcp
  }

  /// One over IPv6, with an extension header if wanted.
  private static func overIPv6(length: Int, hasOptions: Bool) -> [UInt8] {
    let payload = length - 54
    let network: [UInt8] =
      [0x60, 0, 0, 0, UInt8(payload >> 8), UInt8(payload & 0xff), hasOptions ? 0 : 6, 64]
      + [UInt8](repeating: 0xfe, count: 32)
    return ethernet + [0x86, 0xdd] + network + (hasOptions ? [6, 0, 1, 4, 0, 0, 0, 0] : []) + tcp
  }

  /// A header, and the first bytes of its packet.
  private static func packet(
    _ bytes: [UInt8], length: Int, flags: UInt8 = 1, gsoType: UInt8, gsoSize: Int = 0, start: Int, offset: Int = 16
  ) -> [Record] {
    // Sizes up to 255 as they are, up to 4080 in units of 16.
    let shift: UInt8 = gsoSize > 255 ? 4 : 0
    let header = Record(
      kind: Record.walker | shift << 3 | flags, a: gsoType, b: UInt8(gsoSize >> Int(shift)), c: UInt8(start),
      d: UInt16(offset), e: UInt16(length))
    let padded = bytes + [UInt8](repeating: 0, count: 7)
    let records = stride(from: 0, to: bytes.count, by: 7).map { start in
      let eight = [0] + padded[start..<start + 7]
      return Record(eight.span, at: 0)
    }
    return [header] + records
  }

  static var seeds: [FuzzInput] {
    let segmented4 = packet(overIPv4(length: 3000), length: 3000, gsoType: 1, gsoSize: 500, start: 34)
    let segmented6 = packet(
      overIPv6(length: 3000, hasOptions: false), length: 3000, gsoType: 4, gsoSize: 1440, start: 54)
    let withOptions = packet(
      overIPv6(length: 900, hasOptions: true), length: 900, gsoType: 4 | 128, gsoSize: 100, start: 62)
    let tagged = packet(
      overIPv4(length: 1000, tag: [0x81, 0, 0, 5]), length: 1000, gsoType: 1, gsoSize: 1, start: 38)
    let checksum = packet(overIPv4(length: 80), length: 80, gsoType: 0, start: 34)
    let outside = packet(overIPv4(length: 80), length: 80, gsoType: 0, start: 79)
    let noSize = packet(overIPv4(length: 80), length: 80, gsoType: 1, start: 34)
    let misplaced = packet(overIPv4(length: 80), length: 80, gsoType: 1, gsoSize: 9, start: 33)
    let short = packet(Array(overIPv4(length: 50).prefix(50)), length: 50, gsoType: 1, gsoSize: 9, start: 34)
    let plain = packet([], length: 1514, flags: 0, gsoType: 0, start: 0)
    let datagram = packet(overIPv4(length: 80), length: 80, gsoType: 3, gsoSize: 9, start: 34)
    let all = [
      segmented4, segmented6, withOptions, tagged, checksum, outside, noSize, misplaced, short, plain, datagram,
      segmented4 + plain + checksum + segmented6,
    ]
    var inputs: [FuzzInput] = []
    for records in all {
      // What sender and receiver have negotiated: all, all but nothing, nothing but all, other header lengths, MTUs.
      for (lag, room) in [(0x0f0f, 32), (0x000f, 3), (0x0f00, 32), (0x100f, 1), (0x2f3f, 32)] {
        var input = FuzzInput()
        input.lag = UInt16(lag)
        input.size = UInt8(room)
        input.rounds = 3
        input.placeOffset = 0x08ff
        input.records = records
        inputs.append(input)
      }
    }
    return inputs
  }
}
