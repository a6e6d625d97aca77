import CLinux
import Glibc
import SystemPackage
import Testing

/// The bytes of a guest's memory by guest address: all of a memory file, mapped where the code under test does not
/// know, or a copy of it for a model to work on.
@safe final class GuestBytes: @unchecked Sendable {
  /// A part of the file that the guest sees at an address.
  struct Window: Sendable {
    var start: UInt64
    var size: UInt64
    var offset: Int
  }

  let windows: [Window]
  let count: Int
  private let base: UnsafeMutableRawPointer
  private let isMapped: Bool

  init(mapping file: FileDescriptor, count: Int, windows: [Window]) throws {
    self.windows = windows
    self.count = count
    let address = unsafe mmap(nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, file.rawValue, 0)
    unsafe base = try #require(unsafe address)
    isMapped = true
  }

  private init(copying other: GuestBytes) {
    windows = other.windows
    count = other.count
    unsafe base = .allocate(byteCount: count, alignment: 64)
    isMapped = false
    assign(other)
  }

  deinit {
    if isMapped { unsafe munmap(base, count) } else { unsafe base.deallocate() }
  }

  // MARK: All of it

  func copy() -> GuestBytes { GuestBytes(copying: self) }

  /// Makes all bytes those of another one of the same size.
  func assign(_ other: GuestBytes) {
    precondition(count == other.count)
    unsafe base.copyMemory(from: other.base, byteCount: count)
  }

  /// Takes a piece of guest memory over from another one.
  func accept(_ other: GuestBytes, _ address: UInt64, _ count: Int) {
    for part in parts(address, count) {
      unsafe (base + part.lowerBound).copyMemory(from: other.base + part.lowerBound, byteCount: part.count)
    }
  }

  /// Fills everything with bytes that depend on their place.
  func fill(seed: UInt64) {
    var random = SplitMix(seed: seed)
    for i in stride(from: 0, to: count, by: 8) {
      unsafe base.storeBytes(of: random.next(), toByteOffset: i, as: UInt64.self)
    }
  }

  /// Whether all bytes are the same. Everything that a test permits is in the model, so there are no exceptions.
  func isSame(as other: GuestBytes) -> Bool { unsafe memcmp(base, other.base, count) == 0 }

  /// The offsets in the file that differ, those in `except` aside.
  func differences(from other: GuestBytes, except: [Range<Int>] = []) -> [Int] {
    if isSame(as: other) { return [] }
    return (0..<count).filter { i in self[i] != other[i] && !except.contains { $0.contains(i) } }
  }

  /// Where one byte is, for people: the guest address if it has one, else the offset of the canary.
  func place(_ offset: Int) -> String {
    for window in windows where offset >= window.offset && offset < window.offset + Int(window.size) {
      return "0x" + String(window.start + UInt64(offset - window.offset), radix: 16)
    }
    return "canary \(offset)"
  }

  subscript(offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset < count)
    return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
  }

  /// The parts of the file that belong to no window.
  var canaries: [Range<Int>] {
    var from = 0
    var found: [Range<Int>] = []
    for window in windows {
      found.append(from..<window.offset)
      from = window.offset + Int(window.size)
    }
    return found + [from..<count]
  }

  // MARK: By guest address

  /// Where a guest address is in the file, and how much follows in its window; nil when it is not mapped.
  func find(_ address: UInt64) -> (offset: Int, rest: Int)? {
    var i = 0
    while i < windows.count {
      let window = windows[i]
      if address >= window.start && address &- window.start < window.size {
        let into = Int(truncatingIfNeeded: address &- window.start)
        return (window.offset &+ into, Int(window.size) &- into)
      }
      i &+= 1
    }
    return nil
  }

  /// The parts of the file that stand for a piece of guest memory, all of which must be mapped.
  func parts(_ address: UInt64, _ count: Int) -> [Range<Int>] {
    var found: [Range<Int>] = []
    var address = address
    var rest = count
    while rest > 0 {
      guard let (offset, room) = find(address) else {
        preconditionFailure("0x\(String(address, radix: 16)): not mapped")
      }
      let length = min(rest, room)
      found.append(offset..<offset + length)
      rest -= length
      address &+= UInt64(length)
    }
    return found
  }

  func read(_ address: UInt64, _ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var from = 0
    for part in parts(address, count) {
      unsafe bytes.withUnsafeMutableBytes { target in
        unsafe UnsafeMutableRawBufferPointer(rebasing: target[from..<from + part.count])
          .copyMemory(from: UnsafeRawBufferPointer(start: base + part.lowerBound, count: part.count))
      }
      from += part.count
    }
    return bytes
  }

  func write(_ address: UInt64, _ bytes: [UInt8]) {
    var from = 0
    for part in parts(address, bytes.count) {
      unsafe bytes.withUnsafeBytes { source in
        unsafe UnsafeMutableRawBufferPointer(start: base + part.lowerBound, count: part.count)
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[from..<from + part.count]))
      }
      from += part.count
    }
  }

  /// Where a field is, nil when it does not lie in one window.
  private func at(_ address: UInt64, _ length: Int) -> UnsafeMutableRawPointer? {
    guard let (offset, rest) = find(address), rest >= length else { return nil }
    return unsafe base + offset
  }

  // A field of the ring is one store: the guest's thread writes while the code under test reads.
  func write(_ address: UInt64, _ value: UInt16) {
    if let at = unsafe at(address, 2), UInt(bitPattern: at) % 2 == 0 {
      unsafe clinux_store_u16(at, value)
    } else {
      write(address, littleEndian(value))
    }
  }
  func write(_ address: UInt64, _ value: UInt32) {
    if let at = unsafe at(address, 4), UInt(bitPattern: at) % 4 == 0 {
      unsafe clinux_store_u32(at, value)
    } else {
      write(address, littleEndian(value))
    }
  }
  func write(_ address: UInt64, _ value: UInt64) {
    if let at = unsafe at(address, 8), UInt(bitPattern: at) % 8 == 0 {
      unsafe clinux_store_u64(at, value)
    } else {
      write(address, littleEndian(value))
    }
  }

  func uint16(_ address: UInt64) -> UInt16 {
    if let at = unsafe at(address, 2), UInt(bitPattern: at) % 2 == 0 { return unsafe clinux_load_u16(at) }
    return read(address, 2).reversed().reduce(0) { $0 << 8 | UInt16($1) }
  }
  func uint32(_ address: UInt64) -> UInt32 {
    if let at = unsafe at(address, 4), UInt(bitPattern: at) % 4 == 0 { return unsafe clinux_load_u32(at) }
    return read(address, 4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }
  func uint64(_ address: UInt64) -> UInt64 {
    if let at = unsafe at(address, 8), UInt(bitPattern: at) % 8 == 0 { return unsafe clinux_load_u64(at) }
    return read(address, 8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}

/// The little-endian bytes of a number.
func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
  (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
}
