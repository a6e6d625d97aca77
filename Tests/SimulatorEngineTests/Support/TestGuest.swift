import CLinux
import Foundation
import SystemPackage
import VDPA
import Virtio

/// A guest's memory: a memory file, the snapshot that a device gets, and a mapping of the guest's own, through which a
/// test sees all of it whatever the device has.
final class TestGuest {
  /// Where regions start; 16 MiB apart, so that a hole follows each.
  static let base: UInt64 = 0x1000_0000
  static let spacing: UInt64 = 0x100_0000

  let file: OwnedFD
  let regions: [MemoryRegion]
  private let own: GuestMemory
  private var next: [UInt64]

  /// A guest with regions of that many bytes.
  init(regions sizes: [Int] = [4 << 20]) throws {
    file = OwnedFD(adopting: FileDescriptor(rawValue: unsafe clinux_memfd("guest")))
    let file = self.file
    var offset = 0
    regions = try sizes.enumerated().map { i, size in
      defer { offset += size }
      return try MemoryRegion(
        guestAddress: TestGuest.base + UInt64(i) * TestGuest.spacing, size: UInt64(size),
        userAddress: 0x7f00_0000_0000 + UInt64(i) * TestGuest.spacing, fileOffset: UInt64(offset))
    }
    guard ftruncate(file.rawValue, off_t(offset)) == 0 else { throw Errno(rawValue: errno) }
    own = try GuestMemory.table(regions.map { ($0, file.descriptor) })
    next = regions.map(\.guestAddress)
  }

  /// A new snapshot of some regions, mapped for a device.
  func memory(_ indices: [Int]? = nil) throws -> GuestMemory {
    try GuestMemory.table((indices ?? Array(regions.indices)).map { (regions[$0], file.descriptor) })
  }

  /// Free memory of a region, aligned to a page.
  func allocate(_ length: Int, region: Int = 0) -> UInt64 {
    let address = next[region]
    next[region] += UInt64((length + 4095) & ~4095)
    precondition(next[region] <= regions[region].guestEnd, "the test's region \(region) is too small")
    return address
  }

  /// The guest's own view; valid as long as the guest.
  var view: MemoryView { own.addressMap.view }

  func write(_ bytes: [UInt8], at address: UInt64) {
    var view = self.view
    guard let to = unsafe view.contiguous(at: address, length: bytes.count, for: .write) else {
      preconditionFailure("the test writes outside of guest memory")
    }
    unsafe bytes.withUnsafeBytes {
      unsafe to.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(to), byteCount: $0.count)
    }
  }

  func read(_ address: UInt64, _ count: Int) -> [UInt8] {
    var view = self.view
    var bytes = [UInt8](repeating: 0, count: count)
    let isThere = unsafe bytes.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress else { return true }
      return unsafe view.read(address, length: count, to: base)
    }
    precondition(isThere, "the test reads outside of guest memory")
    return bytes
  }

  /// All the bytes of a region.
  func contents(ofRegion index: Int) -> [UInt8] { read(regions[index].guestAddress, Int(regions[index].size)) }
}
