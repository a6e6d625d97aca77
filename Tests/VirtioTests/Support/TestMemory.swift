import CLinux
import Glibc
import SystemPackage
import Testing

@testable import Virtio

/// Guest memory made for a test, with a second look at all of it: regions of one memory file, with a page of canary in
/// front of, between and behind them, and a mapping of the whole file that the code under test does not know.
final class TestMemory: Sendable {
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
  /// All of the file.
  let bytes: GuestBytes

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
    bytes = try GuestBytes(
      mapping: fd, count: offset,
      windows: regions.map { .init(start: $0.guestAddress, size: $0.size, offset: Int($0.fileOffset)) })
    guest = try GuestMemory.table(regions.map { ($0, fd) })
    bytes.fill(seed: 1)
  }

  deinit {
    try? file.close()
  }

  var view: MemoryView { guest.addressMap.view }

  /// All of the file as it is.
  func copy() -> GuestBytes { bytes.copy() }
  func restore(_ image: GuestBytes) { bytes.assign(image) }
  func differences(from image: GuestBytes, except: [Range<Int>] = []) -> [Int] {
    bytes.differences(from: image, except: except)
  }
  func read(_ address: UInt64, _ count: Int) -> [UInt8] { bytes.read(address, count) }
  func write(_ address: UInt64, _ values: [UInt8]) { bytes.write(address, values) }
}
