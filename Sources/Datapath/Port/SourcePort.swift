internal import Virtio

/// Sends packets as fast as the guest offers buffers. What the guest sends is dropped, or its queue would fill.
struct SourcePort: NetPort {
  private let packets = PacketBurst()
  private let length: Int
  private var sink = SinkPort()
  /// The header's length that the packets have room for; it can differ from one guest driver to the next.
  private var filledFor = 0

  init(length: Int) {
    self.length = length
  }

  mutating func serve(_ receive: inout NetVring?, _ transmit: inout NetVring?, _ burst: PacketBurst) -> Int {
    let dropped = sink.serve(&receive, &transmit, burst)
    guard receive?.isEnabled == true, let headerLength = receive?.headerLength else { return dropped }
    if headerLength != filledFor { fill(headerLength: headerLength) }
    packets.rearm()
    // Packets that fit into no buffer cost none; sending them for ever would be work without an end.
    let before = receive?.nextUsed
    let given = receive?.enqueue(packets) ?? 0
    return receive?.nextUsed == before ? dropped : dropped + given
  }

  /// Broadcast frames of the protocol for local experiments (IEEE 802, EtherType 0x88B5).
  private mutating func fill(headerLength: Int) {
    filledFor = headerLength
    packets.clear()
    let header: [UInt8] = Array(repeating: 0xff, count: 6) + [0x02, 0, 0, 0, 0, 1, 0x88, 0xb5]
    while packets.append(
      length: length, headerLength: headerLength,
      { payload in
        for i in 0..<payload.count {
          payload[i] = i < header.count ? header[i] : UInt8(truncatingIfNeeded: i)
        }
      })
    {}
  }
}
