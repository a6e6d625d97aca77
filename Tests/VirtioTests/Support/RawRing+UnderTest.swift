@testable import Virtio

extension RawRing {
  /// The ring as the code under test finds it.
  func area(_ view: MemoryView) throws -> RingMemory {
    try RingMemory(RingLayout(format, size: size), descriptor: descriptors, avail: avail, used: used, memory: view)
  }

  /// A device at the ring's start.
  func device(_ memory: TestMemory, _ features: Features = []) throws -> DeviceRing {
    DeviceRing(try area(memory.view), features: features, nextAvail: start, nextUsed: start)
  }

  /// A ring in new bytes, in which nobody has done anything.
  static func fresh(_ memory: TestMemory, _ ring: RingCase, at address: UInt64 = 0x1_0000, start: UInt16) -> RawRing {
    let raw = RawRing(memory.bytes, ring.format, size: ring.size, at: address, start: start)
    raw.reset()
    return raw
  }
}

extension RingCase {
  /// Where two sides start that have not met before.
  var start: UInt16 { format == .split ? 0 : 0x8000 }
}
