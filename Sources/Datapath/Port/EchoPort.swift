internal import Virtio

/// Answers ARP requests and ICMP echo requests for any address.
///
/// Frames are changed in place in the copy that was taken from the guest; every offset is checked against the frame's
/// length.
struct EchoPort: NetPort {
  /// Answers that wait with the receive ring for a translation.
  private let waiting = PacketBurst()

  func begin() { waiting.clear() }

  var isQuiet: Bool { waiting.count == 0 }

  mutating func serve(_ receive: inout NetVring?, _ transmit: inout NetVring?, _ burst: PacketBurst) -> Int {
    // A ring that is stopped may come back.
    guard receive != nil else { return 0 }
    if waiting.count > 0 {
      answer(waiting, on: &receive)
      if waiting.count > 0 { return 0 }
    }
    guard let taken = transmit?.dequeue(into: burst, limit: PacketBurst.capacity), taken > 0 else { return 0 }
    transmit?.complete(burst, count: taken, taken: taken)
    guard receive?.isEnabled == true, let headerLength = receive?.headerLength else { return taken }
    // No request has anything left to be done by a device.
    burst.filter { index in
      transmit?.isPlain(index) == true && burst.withPayload(index, headerLength: headerLength) { EchoPort.answer(&$0) }
    }
    answer(burst, on: &receive)
    if burst.count > 0 { burst.move(to: waiting) }
    return taken
  }

  /// Gives answers to the guest. Those for which it has no buffers are dropped; what waits for a translation stays.
  private func answer(_ answers: PacketBurst, on receive: inout NetVring?) {
    guard receive?.isEnabled == true else { return answers.clear() }
    let given = receive?.enqueue(answers) ?? 0
    let isWaiting = receive?.isWaiting() == true
    if given < answers.count && !isWaiting { receive?.counters.add(.dropped, answers.count - given) }
    answers.removeFirst(isWaiting ? given : answers.count)
  }

  /// The address that answers ARP requests: locally administered.
  private static let mac: [UInt8] = [0x02, 0x76, 0x64, 0x70, 0x61, 0x01]

  /// Turns a request into its answer. False when it is not a request.
  static func answer(_ frame: inout MutableSpan<UInt8>) -> Bool {
    let length = frame.count
    guard length >= 42 else { return false }
    switch word(frame, 12) {
    case 0x0806:
      // RFC 826: Ethernet, IPv4, request.
      guard word(frame, 14) == 1, word(frame, 16) == 0x0800, byte(frame, 18) == 6, byte(frame, 19) == 4,
        word(frame, 20) == 1
      else { return false }
      let sender = get(frame, 22, 10)
      let wanted = get(frame, 38, 4)
      // A guest that asks whether its address is free, or tells of it, must not hear that somebody else has it (RFC 5227).
      guard sender[6..<10] != [0, 0, 0, 0], sender[6..<10] != wanted[...] else { return false }
      set(&frame, 0, Array(sender[0..<6]))
      set(&frame, 6, mac)
      set(&frame, 20, [0, 2])
      set(&frame, 22, mac)
      set(&frame, 28, wanted)
      set(&frame, 32, sender)
      return true
    case 0x0800:
      // RFC 791, RFC 792: IPv4 without fragments, ICMP echo request.
      let headerLength = Int(byte(frame, 14) & 0x0f) * 4
      let icmp = 14 + headerLength
      guard byte(frame, 14) >> 4 == 4, headerLength >= 20, icmp + 8 <= length, Int(word(frame, 16)) >= headerLength + 8,
        Int(word(frame, 16)) + 14 <= length, word(frame, 20) & 0x3fff == 0, byte(frame, 23) == 1,
        byte(frame, icmp) == 8, byte(frame, icmp + 1) == 0
      else { return false }
      let source = get(frame, 6, 6)
      set(&frame, 6, get(frame, 0, 6)[0] & 1 == 0 ? get(frame, 0, 6) : mac)
      set(&frame, 0, source)
      let from = get(frame, 26, 4)
      set(&frame, 26, get(frame, 30, 4))
      set(&frame, 30, from)
      set(&frame, icmp, [0])
      // Type 8 became 0: the one's complement sum lost 0x0800, so its complement gains it (RFC 1624).
      let sum = UInt32(word(frame, icmp + 2)) + 0x0800
      let folded = UInt16(truncatingIfNeeded: sum & 0xffff) &+ UInt16(truncatingIfNeeded: sum >> 16)
      set(&frame, icmp + 2, [UInt8(folded >> 8), UInt8(folded & 0xff)])
      return true
    default:
      return false
    }
  }

  private static func byte(_ frame: borrowing MutableSpan<UInt8>, _ offset: Int) -> UInt8 { frame[offset] }

  private static func word(_ frame: borrowing MutableSpan<UInt8>, _ offset: Int) -> UInt16 {
    UInt16(frame[offset]) << 8 | UInt16(frame[offset + 1])
  }

  private static func get(_ frame: borrowing MutableSpan<UInt8>, _ offset: Int, _ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    for i in offset..<offset + count { bytes.append(frame[i]) }
    return bytes
  }

  private static func set(_ frame: inout MutableSpan<UInt8>, _ offset: Int, _ bytes: [UInt8]) {
    for (i, value) in bytes.enumerated() { frame[offset + i] = value }
  }
}
