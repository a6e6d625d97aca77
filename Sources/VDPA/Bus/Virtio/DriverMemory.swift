internal import CLinux
internal import SystemPackage
public import Virtio

/// Memory that a driver shares with whoever serves it: memfds, mapped here as well, out of which rings and buffers are taken.
///
/// What is taken stays taken: rings and buffers live as long as the memory. Addresses are guest addresses. A device or
/// a back-end can write all of it at any time, so what is read is copied out first and looked at then.
@safe public final class DriverMemory {
  /// The guest address of the first region.
  public static let guestBase: UInt64 = 0x4000_0000
  /// How far apart guest addresses and the addresses in front-end space are: nobody follows those here.
  package static let userOffset: UInt64 = 0x7f00_0000_0000 - guestBase
  private static let pageSize: UInt64 = 4096

  /// The regions, by ascending address, with a page between them that is nobody's.
  public let regions: [SharedRegion]
  /// The mappings.
  public let memory: GuestMemory
  private var view: MemoryView
  /// The first byte of each region that is not taken.
  private var next: [UInt64]
  /// The region whose turn it is.
  private var turn = 0

  /// Makes memory, all of it zero.
  ///
  /// - Parameter sizes: The size of each region in bytes; rounded up to whole pages of 4096 bytes, one at least.
  /// - Throws: ``VDPAError`` `noResources`, when there is not enough of it.
  public init(regionSizes sizes: [Int]) throws(VDPAError) {
    do {
      var regions: [SharedRegion] = []
      var start = DriverMemory.guestBase
      let page = DriverMemory.pageSize
      for size in sizes {
        let pages = (UInt64(max(size, 1)) + page - 1) & ~(page - 1)
        // Whoever maps it can rely on its size, this process too: a back-end has the file as well.
        let file = try MemoryFile.make("driver", size: Int(pages))
        let region = try MemoryRegion(
          guestAddress: start, size: pages, userAddress: start + DriverMemory.userOffset, fileOffset: 0)
        regions.append(SharedRegion(region, file: file))
        start += pages + page
      }
      memory = try GuestMemory.table(regions.map { ($0.region, $0.file.descriptor) })
      self.regions = regions
    } catch {
      throw VDPAError(.noResources, "no memory can be shared: \(error)", underlying: error as? Errno)
    }
    view = memory.addressMap.view
    next = regions.map(\.region.guestAddress)
  }

  /// A new snapshot of some of the regions, mapped once more: what a guest has whose memory changes.
  ///
  /// - Parameter indices: Which of ``regions``.
  /// - Throws: ``VDPAError`` `noResources`, when they cannot be mapped.
  public func snapshot(of indices: [Int]) throws(VDPAError) -> GuestMemory {
    do {
      return try GuestMemory.table(indices.map { (regions[$0].region, regions[$0].file.descriptor) })
    } catch {
      throw VDPAError(.noResources, "memory cannot be mapped once more: \(error)")
    }
  }

  /// Takes a piece, which is zero, out of each region in turn: rings and buffers are all over the memory, as a guest's are.
  ///
  /// - Parameters:
  ///   - count: Its size in bytes.
  ///   - alignment: A power of two that its address is a multiple of, in bytes.
  /// - Returns: Its guest address.
  /// - Throws: ``VDPAError`` `noResources`, when no region has that much left.
  public func allocate(_ count: Int, alignment: Int = 4096) throws(VDPAError) -> UInt64 {
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
    throw VDPAError(.noResources, "\(count) bytes are more than is left of the memory that is shared")
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
