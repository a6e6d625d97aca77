internal import Virtio

/// Looking things up in guest memory, against a plain search.
enum MemoryCheck {
  static func lookUp(_ r: Record, _ memory: FuzzMemory, _ ring: RingPlacement) {
    let address = memory.address(r.e, ring: ring)
    let length = UInt64(r.length)
    let access: AddressMap.Access = r.b & 1 == 0 ? .read : .write
    var view = memory.view
    // From another entry than the one that is hit last.
    if r.b & 2 != 0 { _ = view.covers(memory.address(r.e ^ 0x2000, ring: ring), length: 1, for: .read) }
    let isMapped = memory.covers(address, length: length, for: access)
    let covers = view.covers(address, length: length, for: access)
    Oracle.require(covers == isMapped, "\(length) bytes at 0x\(String(address, radix: 16)) are covered: \(covers)")
    let word = view.readUInt16(at: address)
    let isThere = address % 2 == 0 && (memory.find(address)?.rest ?? 0) >= 2
    Oracle.require((word != nil) == isThere, "0x\(String(address, radix: 16)) is readable: \(word != nil)")
  }
}
