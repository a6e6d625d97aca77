public import SystemPackage

/// The memory of a guest at one moment: an immutable snapshot.
///
/// A change makes a new snapshot that shares the mappings which stay; a mapping goes away with the last snapshot that has
/// it. Whoever works with guest memory holds a snapshot, so nothing is unmapped under it.
public final class GuestMemory: Sendable {
  /// A region and the mapping behind it.
  private struct Mapped: Sendable {
    let region: MemoryRegion
    let mapping: MemoryMapping
    /// How often it was added and not removed.
    var uses = 1
  }

  /// How many regions a snapshot holds at most (vhost-user, CONFIGURE_MEM_SLOTS).
  public static let maxRegions = 509

  private let mapped: [Mapped]
  /// The memory by guest physical address.
  private let physical: AddressMap
  /// What the guest's IOMMU makes of its memory; nil for devices that are not behind it.
  let translations: IOTLB?
  /// The memory by the addresses that devices see: guest physical ones, or those of the guest's IOMMU.
  public let addressMap: AddressMap

  /// The memory of a guest that has none.
  public static let empty = GuestMemory()

  private init() {
    mapped = []
    physical = .empty
    translations = nil
    addressMap = .empty
  }

  /// The same memory, seen otherwise.
  init(_ memory: GuestMemory, translations: IOTLB?) {
    mapped = memory.mapped
    physical = memory.physical
    self.translations = translations
    addressMap = translations.map { AddressMap($0, over: memory.physical) } ?? memory.physical
  }

  /// - Parameter translations: Those of memory that is not there (any more) are forgotten.
  private init(_ mapped: [Mapped], _ translations: IOTLB?) throws(VirtioError) {
    guard mapped.count <= GuestMemory.maxRegions else {
      throw VirtioError(
        .tooManyRegions, "\(mapped.count) memory regions are more than the \(GuestMemory.maxRegions) that are served")
    }
    let byUser = mapped.map(\.region).sorted { $0.userAddress < $1.userAddress }
    for (one, next) in zip(byUser, byUser.dropFirst()) where next.userAddress - one.userAddress < one.size {
      throw VirtioError(.regionsOverlap, "memory regions \(one) and \(next) overlap in the front-end's addresses")
    }
    self.mapped = mapped.sorted { $0.region.guestAddress < $1.region.guestAddress }
    let physical = try AddressMap(
      ranges: mapped.map { item in
        AddressMap.Range(
          start: item.region.guestAddress, size: item.region.size, access: .readWrite, mapping: item.mapping)
      })
    var translations = translations
    translations?.filter { physical.hasRange(around: $0.guestAddress, length: $0.size) }
    self.physical = physical
    self.translations = translations
    addressMap = translations.map { AddressMap($0, over: physical) } ?? physical
  }

  /// The regions by ascending guest address.
  public var regions: [MemoryRegion] { mapped.map(\.region) }

  /// The snapshot after a complete replacement of the memory (vhost-user, SET_MEM_TABLE).
  ///
  /// A region that was there before, equal in every number and of the same file, keeps its mapping.
  ///
  /// - Parameters:
  ///   - table: The regions with their memory files.
  ///   - previous: The snapshot that is replaced.
  ///   - policy: Which kinds of file are accepted.
  /// - Throws: ``VirtioError``; then nothing has changed.
  public static func table(
    _ table: [(region: MemoryRegion, file: FileDescriptor)], replacing previous: GuestMemory = .empty,
    policy: MemoryMapping.FilePolicy = .memoryOnly
  ) throws(VirtioError) -> GuestMemory {
    var mapped: [Mapped] = []
    for (region, file) in table {
      if let kept = previous.mapping(of: region, file) {
        mapped.append(Mapped(region: region, mapping: kept))
      } else {
        mapped.append(Mapped(region: region, mapping: try MemoryMapping(file: file, region: region, policy: policy)))
      }
    }
    return try GuestMemory(mapped, previous.translations)
  }

  private func mapping(of region: MemoryRegion, _ file: FileDescriptor) -> MemoryMapping? {
    mapped.first { $0.region == region && $0.mapping.isOf(file) }?.mapping
  }

  /// The snapshot with one more region (vhost-user, ADD_MEM_REG).
  ///
  /// A region that is there already, equal in every number and of the same file, is only counted: QEMU 7.2 adds and
  /// removes each region once for every queue pair.
  ///
  /// - Throws: ``VirtioError``; then nothing has changed.
  public func adding(
    _ region: MemoryRegion, file: FileDescriptor, policy: MemoryMapping.FilePolicy = .memoryOnly
  ) throws(VirtioError) -> GuestMemory {
    if let index = mapped.firstIndex(where: { $0.region == region && $0.mapping.isOf(file) }) {
      return try counting(1, at: index)
    }
    let mapping = try MemoryMapping(file: file, region: region, policy: policy)
    return try GuestMemory(mapped + [Mapped(region: region, mapping: mapping)], translations)
  }

  private func counting(_ change: Int, at index: Int) throws(VirtioError) -> GuestMemory {
    var counted = mapped
    counted[index].uses += change
    return try GuestMemory(counted, translations)
  }

  /// The snapshot without one region (vhost-user, REM_MEM_REG), or with the region counted once less if it was added
  /// more than once.
  ///
  /// - Parameter region: Found by guest address, user address and size.
  /// - Throws: ``VirtioError`` `noSuchRegion`.
  public func removing(_ region: MemoryRegion) throws(VirtioError) -> GuestMemory {
    let found = mapped.firstIndex { item in
      item.region.guestAddress == region.guestAddress && item.region.userAddress == region.userAddress
        && item.region.size == region.size
    }
    guard let index = found else {
      throw VirtioError(.noSuchRegion, "memory region \(region) is not there, so it cannot be removed")
    }
    if mapped[index].uses > 1 { return try counting(-1, at: index) }
    var rest = mapped
    rest.remove(at: index)
    return try GuestMemory(rest, translations)
  }

  /// The guest physical address of a piece of memory that the front-end named by its own address.
  ///
  /// - Parameters:
  ///   - userAddress: An address in the front-end's process.
  ///   - length: In bytes; all of it must lie in one region.
  /// - Returns: nil when it does not.
  public func guestAddress(ofUser userAddress: UInt64, length: UInt64) -> UInt64? {
    for item in mapped {
      let region = item.region
      guard userAddress >= region.userAddress, userAddress - region.userAddress < region.size else { continue }
      let offset = userAddress - region.userAddress
      return region.size - offset >= length ? region.guestAddress + offset : nil
    }
    return nil
  }

  /// A region by where it is in this process.
  struct HostRange: Sendable {
    let start: UInt
    let end: UInt
    let guestAddress: UInt64
  }

  /// The regions by ascending address in this process: the way back to the guest's addresses, whatever map of addresses a
  /// device was given.
  var hostRanges: [HostRange] {
    mapped.map { item in
      let start = unsafe UInt(bitPattern: item.mapping.start)
      return HostRange(start: start, end: start + UInt(item.region.size), guestAddress: item.region.guestAddress)
    }.sorted { $0.start < $1.start }
  }

  /// What has to be unmapped from, and then mapped into, a table that follows guest memory, when `new` replaces this
  /// snapshot. Ranges that stay as they are are in neither.
  public func difference(to new: GuestMemory) -> (gone: [AddressMap.Range], come: [AddressMap.Range]) {
    let (old, new) = (addressMap.ranges, new.addressMap.ranges)
    var (gone, come): ([AddressMap.Range], [AddressMap.Range]) = ([], [])
    var (i, j) = (0, 0)
    while i < old.count || j < new.count {
      if j == new.count || i < old.count && old[i].start < new[j].start {
        gone.append(old[i])
        i += 1
      } else if i == old.count || new[j].start < old[i].start {
        come.append(new[j])
        j += 1
      } else {
        if !old[i].isSame(as: new[j]) {
          gone.append(old[i])
          come.append(new[j])
        }
        (i, j) = (i + 1, j + 1)
      }
    }
    return (gone, come)
  }

  // MARK: Postcopy

  /// Makes accesses to pages that have not arrived wait for them, in the regions that `before` does not have.
  ///
  /// - Throws: ``VirtioError`` `mappingFailed`; what was registered is no more.
  public func register(with faults: PageFaults, besides before: GuestMemory) throws(VirtioError) {
    let new = mapped.filter { item in !before.mapped.contains { $0.mapping === item.mapping } }
    for (i, item) in new.enumerated() {
      do throws(Errno) {
        try item.mapping.register(with: faults)
      } catch {
        for done in new.prefix(i) { done.mapping.unregister(from: faults) }
        throw VirtioError(
          .mappingFailed, "memory region \(item.region) cannot wait for its pages (userfaultfd)", underlying: error)
      }
    }
  }

  /// Lets accesses wait no more: all pages have arrived, or will never.
  public func unregister(from faults: PageFaults) {
    for item in mapped { item.mapping.unregister(from: faults) }
  }

  /// Where a region starts in this process, which is how a front-end tells whose page is missing; nil when it is not there.
  public func processAddress(of region: MemoryRegion) -> UInt64? {
    mapped.first { $0.region == region }.map { unsafe UInt64(UInt(bitPattern: $0.mapping.start)) }
  }
}
