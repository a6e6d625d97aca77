/// An immutable table of the addresses that a device may use, each range with its place in this process and with what
/// may be done there.
///
/// Guest memory has one, by guest physical address or, behind a guest's IOMMU, by IO virtual address; a device with a DMA
/// map of its own makes one of what was mapped for it. The map keeps what it points to alive.
@safe public final class AddressMap: Sendable {
  /// What a device may do with a range.
  public struct Access: OptionSet, Sendable, Hashable {
    /// The bits of the set.
    public let rawValue: UInt8
    /// The set of those bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The device may read.
    public static let read = Access(rawValue: 1)
    /// The device may write.
    public static let write = Access(rawValue: 2)
    /// The device may do both.
    public static let readWrite: Access = [.read, .write]
  }

  /// An access for which there is no range.
  public struct Miss: Sendable, Hashable {
    /// The first address that is not there.
    public let address: UInt64
    /// What was wanted.
    public let access: Access

    /// An access.
    public init(address: UInt64, access: Access) {
      self.address = address
      self.access = access
    }
  }

  /// A range of addresses and the part of a mapping that is behind it.
  public struct Range: Sendable {
    /// The first address, in bytes.
    public let start: UInt64
    /// The length in bytes.
    public let size: UInt64
    /// What may be done there.
    public let access: Access
    /// The guest physical address of what is behind ``start``.
    public let guestAddress: UInt64
    let mapping: MemoryMapping
    let offset: UInt64

    /// A range backed by `mapping` from `offset` bytes behind its start on. The mapping must cover it, which holds for
    /// every part of a region that the mapping was made for.
    init(
      start: UInt64, size: UInt64, access: Access, mapping: MemoryMapping, offset: UInt64 = 0,
      guestAddress: UInt64? = nil
    ) {
      self.start = start
      self.size = size
      self.access = access
      self.guestAddress = guestAddress ?? start
      self.mapping = mapping
      self.offset = offset
    }

    /// The same memory with another permission.
    public func limited(to access: Access) -> Range {
      Range(
        start: start, size: size, access: access, mapping: mapping, offset: offset, guestAddress: guestAddress)
    }

    /// Whether it is the same memory at the same addresses, for the same.
    func isSame(as other: Range) -> Bool {
      start == other.start && size == other.size && access == other.access && offset == other.offset
        && mapping === other.mapping
    }
  }

  /// Where the table comes from; keeps what it points to alive.
  private enum Source: Sendable {
    case ranges([Range])
    case translated(IOTLB, over: AddressMap)
  }

  private let source: Source
  /// How many ranges there are.
  public var count: Int { unsafe table.count }

  // The table is written once, before anybody else sees this object, and freed with it.
  nonisolated(unsafe) private let table: AddressTable

  /// A map of ranges.
  ///
  /// - Parameter ranges: In any order.
  /// - Throws: ``VirtioError`` `regionsOverlap`, when an address stands in two of them.
  public init(ranges: [Range]) throws(VirtioError) {
    let sorted = ranges.sorted { $0.start < $1.start }
    for (one, next) in zip(sorted, sorted.dropFirst()) where next.start - one.start < one.size {
      throw VirtioError(
        .regionsOverlap,
        "the memory at 0x\(String(one.start, radix: 16)) (0x\(String(one.size, radix: 16)) bytes) and the memory at "
          + "0x\(String(next.start, radix: 16)) overlap")
    }
    source = .ranges(sorted)
    unsafe table = AddressTable(
      sorted.map { range in
        unsafe AddressTable.Entry(
          start: range.start, size: range.size, host: range.mapping.start + Int(range.offset), access: range.access)
      })
  }

  /// The memory of a guest by what its IOMMU makes of its addresses. What is translated to an address that `physical`
  /// does not have, or not in one range, is left out.
  ///
  /// - Parameter physical: The memory by guest physical address.
  init(_ translations: IOTLB, over physical: AddressMap) {
    source = .translated(translations, over: physical)
    var view = physical.view
    unsafe table = AddressTable(
      translations.entries.compactMap { entry in
        guard let host = unsafe view.contiguous(at: entry.guestAddress, length: Int(entry.size), for: []) else {
          return nil
        }
        return unsafe AddressTable.Entry(start: entry.start, size: entry.size, host: host, access: entry.access)
      })
  }

  /// The ranges by ascending address. For translated memory they are made for whoever asks.
  public var ranges: [Range] {
    switch source {
    case .ranges(let ranges): return ranges
    case .translated(let translations, let physical):
      let regions = physical.ranges
      return translations.entries.compactMap { entry in
        guard
          let region = regions.first(where: {
            entry.guestAddress >= $0.start && entry.guestAddress - $0.start < $0.size
          })
        else { return nil }
        let inside = entry.guestAddress - region.start
        guard region.size - inside >= entry.size else { return nil }
        return Range(
          start: entry.start, size: entry.size, access: entry.access, mapping: region.mapping,
          offset: region.offset + inside, guestAddress: entry.guestAddress)
      }
    }
  }

  /// Whether all of a piece lies in one range.
  ///
  /// - Parameters:
  ///   - address: The first address.
  ///   - length: In bytes; at least 1.
  ///   - access: What has to be allowed there.
  public func hasRange(around address: UInt64, length: UInt64, for access: Access = []) -> Bool {
    var view = view
    guard let found = unsafe view.segment(at: address, length: length, for: access) else { return false }
    return unsafe UInt64(found.length) == length
  }

  /// The first address of a piece that is not mapped for an access; nil when all are, in whatever ranges.
  public func miss(at address: UInt64, length: UInt64, for access: Access) -> Miss? {
    var view = view
    return view.covers(address, length: length, for: access) ? nil : view.miss
  }

  /// Whether whatever can be reached in another map is here too: at the same addresses, the same memory, for as much.
  public func keepsAll(of other: AddressMap) -> Bool {
    if self === other { return true }
    var view = view
    for i in unsafe 0..<other.table.count {
      let entry = unsafe other.table[i]
      var address = entry.start
      var rest = entry.size
      while rest > 0 {
        let host = unsafe entry.host + Int(address - entry.start)
        guard let found = unsafe view.segment(at: address, length: rest, for: entry.access),
          unsafe found.host == host
        else { return false }
        address &+= unsafe UInt64(found.length)
        rest -= unsafe UInt64(found.length)
      }
    }
    return true
  }

  /// The map without any address.
  public static let empty = AddressMap()

  private init() {
    source = .ranges([])
    unsafe table = AddressTable([])
  }

  deinit {
    unsafe table.free()
  }

  /// What has become of memory whose pages were found gone (``BusErrorGuard``), and what to do; nil when all of it is
  /// there.
  package var loss: String? {
    if case .translated(_, let physical) = source { return physical.loss }
    guard let region = ranges.first(where: { $0.mapping.isLost })?.mapping.region else { return nil }
    return "memory region \(region) is gone under the device: its file has been truncated, or the system had no page "
      + "left for it (a full tmpfs, no free huge page, defective memory); start the front-end anew, and look into what it "
      + "does with its memory file"
  }

  /// A view for the accesses of a burst. The map must outlive it.
  package var view: MemoryView { unsafe MemoryView(table) }
}
