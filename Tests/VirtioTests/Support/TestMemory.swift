import CLinux
import Glibc
import SystemPackage
import Testing

@testable import Virtio

/// Guest memory made for a test, with a second look at all of it: regions of one memory file, with a page of canary in
/// front of, between and behind them, and a mapping of the whole file that the code under test does not know.
@safe final class TestMemory: @unchecked Sendable {
  /// Where a region is for the guest and how long it is, in bytes.
  struct Place {
    var start: UInt64
    var size: UInt64
    var end: UInt64 { start + size }
  }

  static let page = 4096
  /// What a user address is more than the guest address; the sum wraps around for none of the tests' regions.
  static let userOffset: UInt64 = 0x1_0000

  let places: [Place]
  let regions: [MemoryRegion]
  let guest: GuestMemory
  let file: FileDescriptor
  private let base: UnsafeMutableRawPointer
  private let length: Int

  /// Memory with regions at those guest addresses; the n-th starts n × 16 bytes behind the start of a page of the file.
  init(_ places: [Place]) throws {
    var offset = TestMemory.page
    var regions: [MemoryRegion] = []
    for (i, place) in places.enumerated() {
      regions.append(
        try MemoryRegion(
          guestAddress: place.start, size: place.size,
          userAddress: place.start >= UInt64.max / 2
            ? place.start - TestMemory.userOffset : place.start + TestMemory.userOffset,
          fileOffset: UInt64(offset + i * 16)))
      offset += (Int(place.size) + i * 16 + TestMemory.page - 1) / TestMemory.page * TestMemory.page + TestMemory.page
    }
    let fd = unsafe FileDescriptor(rawValue: clinux_memfd("test"))
    try #require(fd.rawValue >= 0 && ftruncate(fd.rawValue, off_t(offset)) == 0)
    self.places = places
    self.regions = regions
    file = fd
    length = offset
    let address = unsafe mmap(nil, offset, PROT_READ | PROT_WRITE, MAP_SHARED, fd.rawValue, 0)
    unsafe base = try #require(unsafe address)
    guest = try GuestMemory.table(regions.map { ($0, fd) })
    fill(seed: 1)
  }

  deinit {
    unsafe munmap(base, length)
    try? file.close()
  }

  var view: MemoryView { guest.addressMap.view }

  /// Fills everything, canaries included, with bytes that depend on their place.
  func fill(seed: UInt64) {
    var random = SplitMix(seed: seed)
    for i in stride(from: 0, to: length, by: 8) {
      unsafe base.storeBytes(of: random.next(), toByteOffset: i, as: UInt64.self)
    }
  }

  /// All of the file as it is.
  func snapshot() -> [UInt8] { unsafe Array(UnsafeRawBufferPointer(start: base, count: length)) }

  func restore(_ image: [UInt8]) {
    unsafe image.withUnsafeBytes { bytes in
      if let start = bytes.baseAddress { unsafe base.copyMemory(from: start, byteCount: length) }
    }
  }

  /// The places in the file that differ from an image, those in `except` aside.
  func differences(from image: [UInt8], except: [Range<Int>] = []) -> [Int] {
    let same = unsafe image.withUnsafeBytes { bytes in
      guard let start = bytes.baseAddress, bytes.count == length else { return false }
      return unsafe memcmp(start, base, length) == 0
    }
    if same { return [] }
    let now = snapshot()
    return now.indices.filter { i in now[i] != image[i] && !except.contains { $0.contains(i) } }
  }

  /// Where a guest address is in the file; nil when it is not mapped.
  func offset(_ address: UInt64) -> Int? {
    var i = 0
    while i < places.count {
      if address >= places[i].start && address - places[i].start < places[i].size {
        return Int(regions[i].fileOffset) + Int(address - places[i].start)
      }
      i += 1
    }
    return nil
  }

  /// The parts of the file that stand for a piece of guest memory, all of which must be mapped.
  func parts(_ address: UInt64, _ count: Int) -> [Range<Int>] {
    var found: [Range<Int>] = []
    var address = address
    var rest = count
    while rest > 0 {
      guard let at = offset(address),
        let i = places.firstIndex(where: { address >= $0.start && address - $0.start < $0.size })
      else { preconditionFailure("not mapped") }
      let length = Int(min(UInt64(rest), places[i].end - address))
      found.append(at..<at + length)
      rest -= length
      address += UInt64(length)
    }
    return found
  }

  /// The parts of the file that belong to no region.
  var canaries: [Range<Int>] {
    var from = 0
    var found: [Range<Int>] = []
    for region in regions {
      found.append(from..<Int(region.fileOffset))
      from = Int(region.fileOffset + region.size)
    }
    return found + [from..<length]
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

  func read(_ address: UInt64, _ count: Int) -> [UInt8] {
    parts(address, count).flatMap { part in
      unsafe Array(UnsafeRawBufferPointer(start: base + part.lowerBound, count: part.count))
    }
  }

  func write<T: FixedWidthInteger>(_ address: UInt64, _ value: T) {
    write(address, (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) })
  }

  func value<T: FixedWidthInteger>(_ address: UInt64, as type: T.Type = T.self) -> T {
    read(address, T.bitWidth / 8).reversed().reduce(0) { $0 << 8 | T($1) }
  }
}

/// A generator of reproducible random numbers.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
