internal import CLinux

/// What a device sees of memory while a burst lasts: sorted ranges of addresses and where they are in this process.
///
/// A view borrows the table of an ``AddressMap``; whoever holds a view keeps the map alive. Every access checks address
/// and length against the table and the access against the range's permission, so nothing outside of it can be reached
/// whatever address comes from the guest.
@safe package struct MemoryView {
  /// Loops have a copy of their own, or each access would fetch it anew.
  let table: AddressTable.Lookup
  /// The access that failed last.
  package private(set) var miss: AddressMap.Miss?

  init(_ table: AddressTable) { self.table = table.lookup }

  /// The longest piece from `address` on that is contiguous in this process.
  ///
  /// - Returns: Where it is and its length, at most `length`; nil when the address is not mapped for that access.
  @unsafe @inline(__always) package mutating func segment(
    at address: UInt64, length: UInt64, for access: AddressMap.Access
  ) -> (host: UnsafeMutableRawPointer, length: Int)? {
    let entry = unsafe table.find(address)
    let offset = unsafe address &- entry.pointee.start
    guard unsafe offset < entry.pointee.size, unsafe entry.pointee.access.isSuperset(of: access) else {
      note(address, access)
      return nil
    }
    return unsafe (
      entry.pointee.host + Int(truncatingIfNeeded: offset),
      Int(truncatingIfNeeded: min(length, entry.pointee.size &- offset))
    )
  }

  @inline(never) private mutating func note(_ address: UInt64, _ access: AddressMap.Access) {
    miss = AddressMap.Miss(address: address, access: access)
  }

  /// A piece that must lie in one range, as every part of a ring must.
  ///
  /// - Returns: Where it is; nil when it is not mapped, not for that access, or not in one range.
  @unsafe package mutating func contiguous(
    at address: UInt64, length: Int, for access: AddressMap.Access
  ) -> UnsafeMutableRawPointer? {
    guard let found = unsafe segment(at: address, length: UInt64(length), for: access),
      unsafe found.length == length
    else { return nil }
    return unsafe found.host
  }

  /// Copies from guest memory, across adjacent ranges if need be.
  ///
  /// - Returns: False when a part is not mapped readable; the destination may then have been written in part.
  @unsafe @inline(__always) package mutating func read(
    _ address: UInt64, length: Int, to destination: UnsafeMutableRawPointer
  ) -> Bool {
    var address = address
    var rest = length
    var to = unsafe destination
    while rest > 0 {
      guard let found = unsafe segment(at: address, length: UInt64(rest), for: .read) else { return false }
      unsafe clinux_copy(to, found.host, found.length)
      rest &-= unsafe found.length
      address &+= unsafe UInt64(found.length)
      unsafe to += found.length
    }
    return true
  }

  /// The two halves of a descriptor of an indirect table, fetched once; nil when it is not mapped readable.
  @inline(__always) mutating func readHalves(at address: UInt64) -> (low: UInt64, high: UInt64)? {
    if let found = unsafe segment(at: address, length: 16, for: .read), unsafe found.length == 16,
      unsafe UInt(bitPattern: found.host) & 7 == 0
    {
      return unsafe (clinux_load_u64(found.host), clinux_load_u64(found.host + 8))
    }
    var halves: (UInt64, UInt64) = (0, 0)
    let isMapped = unsafe withUnsafeMutableBytes(of: &halves) { bytes in
      guard let to = bytes.baseAddress else { return false }
      return unsafe read(address, length: 16, to: to)
    }
    return isMapped ? (halves.0, halves.1) : nil
  }

  /// A little-endian number, fetched once; nil when it is not mapped readable in one range or not aligned.
  package mutating func readUInt16(at address: UInt64) -> UInt16? {
    guard address % 2 == 0, let host = unsafe contiguous(at: address, length: 2, for: .read) else { return nil }
    return unsafe UInt16(littleEndian: clinux_load_u16(host))
  }

  /// Whether all of a piece is mapped for that access.
  package mutating func covers(_ address: UInt64, length: UInt64, for access: AddressMap.Access) -> Bool {
    var address = address
    var rest = length
    while rest > 0 {
      guard let found = unsafe segment(at: address, length: rest, for: access) else { return false }
      rest &-= unsafe UInt64(found.length)
      address &+= unsafe UInt64(found.length)
    }
    return true
  }
}
