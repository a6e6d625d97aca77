import CLinux
import Glibc
package import SystemPackage
package import Virtio

/// A dirty log with the eyes of the front-end that has made it: in a memfd, and mapped a second time.
@safe package final class TestLog: @unchecked Sendable {
  package let file: FileDescriptor
  /// Where the bitmap begins in the file, in bytes.
  package let offset: UInt64
  /// How many bytes it has.
  package let size: UInt64
  private let base: UnsafeMutableRawPointer
  private let words: Int

  package init(bytes size: UInt64, offset: UInt64 = 0) throws {
    let descriptor = unsafe clinux_memfd("log")
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    file = FileDescriptor(rawValue: descriptor)
    self.size = size
    self.offset = offset
    // The bitmap itself ends where it ends; what is behind it in its last word is not the device's.
    words = Int(offset + size + 3) / 4
    guard ftruncate(descriptor, off_t(words * 4)) == 0 else { throw Errno(rawValue: errno) }
    let address = unsafe mmap(nil, words * 4, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard let address = unsafe address, unsafe address != MAP_FAILED else { throw Errno(rawValue: errno) }
    unsafe base = address
  }

  /// A log with a bit for every page below an address.
  package convenience init(upTo end: UInt64) throws { try self.init(bytes: (end / DirtyLog.pageSize + 7) / 8) }

  deinit {
    _ = unsafe munmap(base, words * 4)
    try? file.close()
  }

  /// What a device is given.
  package func open() throws -> DirtyLog { try DirtyLog(file: file, offset: offset, size: size) }

  /// The numbers of the pages that are noted, which are forgotten: in one step for 32 pages, as front-ends do it. Bits
  /// outside of the bitmap have numbers that no page has.
  package func take() -> Set<UInt64> {
    var pages: Set<UInt64> = []
    for word in 0..<words {
      var bits = unsafe clinux_exchange_u32(base + word * 4, 0)
      while bits != 0 {
        let bit = bits.trailingZeroBitCount
        bits &= bits - 1
        pages.insert(UInt64(word * 32 + bit) &- offset * 8)
      }
    }
    return pages
  }

  /// The pages in which bytes are.
  package static func pages(of address: UInt64, length: Int) -> Set<UInt64> {
    length > 0 ? Set(address / 4096...(address + UInt64(length) - 1) / 4096) : []
  }
}
