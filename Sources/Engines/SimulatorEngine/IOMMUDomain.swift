internal import Virtio

/// The address space of a device behind a simulated IOMMU: what VFIO's container is to a device of real hardware.
///
/// The engine maps all of guest memory into it, I/O virtual address = guest physical address, and follows its changes.
/// Like an IOMMU it knows whole pages only. Used by the device's thread alone.
struct IOMMUDomain {
  /// The size of a page in bytes.
  static let pageSize: UInt64 = 4096

  let map: DMAMap

  /// Maps ranges; either all or, after an error, none of them.
  ///
  /// - Throws: ``SimulatorError`` `rangeNotAligned` or `rangeOverlaps`.
  func map(_ ranges: [AddressMap.Range]) throws(SimulatorError) {
    var done: [AddressMap.Range] = []
    do throws(SimulatorError) {
      for range in ranges {
        guard range.start % IOMMUDomain.pageSize == 0, range.size % IOMMUDomain.pageSize == 0 else {
          throw SimulatorError(
            .rangeNotAligned,
            "\(range.name) cannot be mapped by an IOMMU: it is not made of whole pages of \(IOMMUDomain.pageSize) bytes"
          )
        }
        try map.map(range)
        done.append(range)
      }
    } catch {
      for range in done { try? map.unmap(start: range.start, size: range.size) }
      throw error
    }
  }

  /// Replaces ranges by others.
  ///
  /// - Throws: ``SimulatorError``; the domain is empty then.
  func replace(_ gone: [AddressMap.Range], by come: [AddressMap.Range]) throws(SimulatorError) {
    do throws(SimulatorError) {
      for range in gone { try map.unmap(start: range.start, size: range.size) }
      try map(come)
    } catch {
      map.unmapAll()
      throw error
    }
  }

  /// Unmaps everything.
  func clear() {
    map.unmapAll()
  }
}
