internal import Virtio

/// A packet of a burst on its way into another burst, whole or in segments.
struct NetSource {
  let packet: Int
  /// Its segments, nil if it goes whole.
  let segmentation: TCPSegmentation?
  /// The header that goes in front of it, or of each segment.
  let header: NetHeader
  let sender: NetGuest
  let receiver: NetGuest

  /// How many packets it makes.
  var count: Int { segmentation?.count ?? 1 }

  /// Adds one of them to a burst.
  ///
  /// - Returns: Whether there was room.
  func append(_ segment: Int, from burst: PacketBurst, to target: PacketBurst) -> Bool {
    let isAdded = burst.withPayload(packet, headerLength: sender.headerLength) { payload in
      let bytes = payload.span
      guard let segmentation else {
        return target.append(length: bytes.count, headerLength: receiver.headerLength) {
          $0.copy(0..<bytes.count, of: bytes, to: 0)
        }
      }
      return target.append(length: segmentation.length(of: segment), headerLength: receiver.headerLength) {
        segmentation.write(segment, of: bytes, into: &$0)
      }
    }
    guard isAdded else { return false }
    target.withPayload(target.count - 1, headerLength: 0) {
      header.encode(into: &$0, length: receiver.headerLength)
    }
    return true
  }
}
