internal import CLinux
internal import Glibc
internal import SystemPackage
internal import VDPA
package import Virtio

/// Memory that a front-end shares with its back-end: memfds, mapped here as well, out of which rings and buffers are taken.
///
/// What is taken stays taken: rings and buffers live as long as the memory. Addresses are guest addresses. The back-end can
/// write all of it at any time, so what is read is copied out first and looked at then.
@safe public final class FrontendMemory {
  /// The guest address of the first region.
  public static let guestBase: UInt64 = 0x4000_0000
  /// How far apart guest addresses and the addresses in front-end space are: nobody follows those here.
  package static let userOffset: UInt64 = 0x7f00_0000_0000 - guestBase
  private static let pageSize: UInt64 = 4096
  /// F_ADD_SEALS of fcntl(2), and what is promised: its size and its seals do not change.
  private static let addSeals: CInt = 1033
  private static let seals: CInt = 0x7

  /// The regions, by ascending address, with a page between them that is nobody's.
  public let regions: [FrontendRegion]
  /// The mappings.
  package let memory: GuestMemory
  private var view: MemoryView
  /// The first byte of each region that is not taken.
  private var next: [UInt64]
  /// The region whose turn it is.
  private var turn = 0

  /// Makes memory, all of it zero.
  ///
  /// - Parameter sizes: The size of each region in bytes; rounded up to whole pages of 4096 bytes, one at least.
  /// - Throws: ``VhostUserError`` `system`, when there is not enough of it.
  public init(regionSizes sizes: [Int]) throws(VhostUserError) {
    do {
      var regions: [FrontendRegion] = []
      var start = FrontendMemory.guestBase
      let page = FrontendMemory.pageSize
      for size in sizes {
        let pages = (UInt64(max(size, 1)) + page - 1) & ~(page - 1)
        let number = unsafe clinux_memfd("frontend")
        guard number >= 0 else { throw Errno(rawValue: -number) }
        let file = OwnedFD(adopting: FileDescriptor(rawValue: number))
        // Whoever maps it can then rely on it, this process too: the back-end has the file as well.
        guard ftruncate(number, off_t(pages)) == 0, fcntl(number, FrontendMemory.addSeals, FrontendMemory.seals) == 0
        else { throw Errno(rawValue: errno) }
        let region = try MemoryRegion(
          guestAddress: start, size: pages, userAddress: start + FrontendMemory.userOffset, fileOffset: 0)
        regions.append(FrontendRegion(region, file: file))
        start += pages + page
      }
      memory = try GuestMemory.table(regions.map { ($0.region, $0.file.descriptor) })
      self.regions = regions
    } catch {
      throw VhostUserError(.system, "no memory can be shared: \(error)", errno: error as? Errno)
    }
    view = memory.addressMap.view
    next = regions.map(\.region.guestAddress)
  }

  /// Takes a piece, which is zero, out of each region in turn: rings and buffers are all over the memory, as a guest's are.
  ///
  /// - Parameters:
  ///   - count: Its size in bytes.
  ///   - alignment: A power of two that its address is a multiple of, in bytes.
  /// - Returns: Its guest address.
  /// - Throws: ``VhostUserError`` `system`, when no region has that much left.
  public func allocate(_ count: Int, alignment: Int = 4096) throws(VhostUserError) -> UInt64 {
    let (count, mask) = (UInt64(max(count, 0)), UInt64(alignment) - 1)
    for offset in regions.indices {
      let i = (turn + offset) % regions.count
      let item = regions[i]
      let address = (next[i] + mask) & ~mask
      guard address <= item.region.guestEnd, count <= item.region.guestEnd - address else { continue }
      next[i] = address + count
      turn = i + 1
      return address
    }
    throw VhostUserError(.system, "\(count) bytes are more than is left of the memory that is shared")
  }

  /// Writes bytes. They have to lie in one region.
  public func write(_ bytes: [UInt8], at address: UInt64) {
    guard let host = unsafe view.contiguous(at: address, length: bytes.count, for: .write) else {
      preconditionFailure("\(bytes.count) bytes at 0x\(String(address, radix: 16)) are not in one region")
    }
    // The view has checked the place; the buffer is the array's own.
    unsafe bytes.withUnsafeBytes { from in
      if let base = from.baseAddress { unsafe clinux_copy(host, base, from.count) }
    }
  }

  /// Copies bytes out. They have to lie in one region.
  public func read(_ address: UInt64, count: Int) -> [UInt8] {
    guard let host = unsafe view.contiguous(at: address, length: count, for: .read) else {
      preconditionFailure("\(count) bytes at 0x\(String(address, radix: 16)) are not in one region")
    }
    return unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      if let base = buffer.baseAddress { unsafe clinux_copy(base, host, count) }
      initialized = count
    }
  }
}
