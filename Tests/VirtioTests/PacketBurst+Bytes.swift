@testable import Virtio

extension PacketBurst {
  /// Adds a packet with that payload.
  func append(_ payload: [UInt8], headerLength: Int) -> Bool {
    unsafe append(length: payload.count, headerLength: headerLength) { target in unsafe target.copyBytes(from: payload)
    }
  }

  /// A copy of a packet's payload.
  func payload(_ index: Int, headerLength: Int) -> [UInt8] {
    unsafe withPayload(index, headerLength: headerLength) { bytes in unsafe Array(bytes) }
  }
}
