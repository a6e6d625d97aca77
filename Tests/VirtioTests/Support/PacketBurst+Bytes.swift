@testable import Virtio

extension PacketBurst {
  /// Adds a packet with that payload.
  func append(_ payload: [UInt8], headerLength: Int) -> Bool {
    append(length: payload.count, headerLength: headerLength) { target in
      for (i, byte) in payload.enumerated() { target[i] = byte }
    }
  }

  /// Adds a packet with that payload.
  func append(_ payload: [UInt8]) -> Bool {
    append(length: payload.count) { target in
      for (i, byte) in payload.enumerated() { target[i] = byte }
    }
  }

  /// A copy of a packet's payload.
  func payload(_ index: Int, headerLength: Int) -> [UInt8] {
    withPayload(index, headerLength: headerLength) { span in
      var bytes: [UInt8] = []
      for i in 0..<span.count { bytes.append(span[i]) }
      return bytes
    }
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
