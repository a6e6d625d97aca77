@testable import Virtio

extension PacketBurst {
  /// Adds a packet with that payload.
  func append(_ payload: [UInt8], headerLength: Int) -> Bool {
    append(length: payload.count, headerLength: headerLength) { target in
      var i = 0
      while i < payload.count {
        target[i] = payload[i]
        i += 1
      }
    }
  }

  /// A copy of a packet's payload.
  func payload(_ index: Int, headerLength: Int) -> [UInt8] {
    Array(bytes(index).dropFirst(headerLength))
  }

  /// A copy of a packet with its header.
  func bytes(_ index: Int) -> [UInt8] {
    let slot = self[index]
    return unsafe Array(UnsafeRawBufferPointer(start: arena + slot.start, count: slot.length))
  }

  /// A copy of a packet's payload.
  func payload(_ index: Int) -> [UInt8] {
    withPayload(of: index) { span in
      var bytes: [UInt8] = []
      for i in 0..<span.count { bytes.append(span[i]) }
      return bytes
    }
  }
}
