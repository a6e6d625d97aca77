/// An immutable table of the addresses that a device may use, each range with its place in this process and with what
/// may be done there.
///
/// Guest memory has one, by guest physical address; a device with a DMA map of its own makes one of what was mapped for
/// it. The map keeps what it points to alive.
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

  /// A range of addresses and the part of a mapping that is behind it.
  public struct Range: Sendable {
    /// The first address, in bytes.
    public let start: UInt64
    /// The length in bytes.
    public let size: UInt64
    /// What may be done there.
    public let access: Access
    let mapping: MemoryMapping
    let offset: UInt64

    /// A range backed by `mapping` from `offset` bytes behind its start on. The mapping must cover it, which holds for
    /// every part of a region that the mapping was made for.
    init(start: UInt64, size: UInt64, access: Access, mapping: MemoryMapping, offset: UInt64 = 0) {
      self.start = start
      self.size = size
      self.access = access
      self.mapping = mapping
      self.offset = offset
    }

    /// The same memory with another permission.
    public func limited(to access: Access) -> Range {
      Range(start: start, size: size, access: access, mapping: mapping, offset: offset)
    }
  }

  /// The ranges by ascending address.
  public let ranges: [Range]

  // The table is written once, before anybody else sees this object, and freed with it.
  nonisolated(unsafe) private let entries: UnsafeMutablePointer<MemoryView.Entry>

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
    self.ranges = sorted
    let table = UnsafeMutablePointer<MemoryView.Entry>.allocate(capacity: max(sorted.count, 1))
    for (i, range) in sorted.enumerated() {
      unsafe (table + i).initialize(
        to: MemoryView.Entry(
          start: range.start, end: range.start + range.size, host: range.mapping.start + Int(range.offset),
          access: range.access))
    }
    unsafe entries = table
  }

  /// Whether all of a piece lies in one range.
  ///
  /// - Parameters:
  ///   - address: The first address.
  ///   - length: In bytes; at least 1.
  public func hasRange(around address: UInt64, length: UInt64) -> Bool {
    ranges.contains { range in
      address >= range.start && address - range.start < range.size && range.size - (address - range.start) >= length
    }
  }

  /// The map without any address.
  public static let empty = AddressMap()

  private init() {
    ranges = []
    unsafe entries = UnsafeMutablePointer<MemoryView.Entry>.allocate(capacity: 1)
  }

  deinit {
    unsafe entries.deallocate()
  }

  /// What has become of memory whose pages were found gone (``BusErrorGuard``), and what to do; nil when all of it is
  /// there.
  package var loss: String? {
    guard let region = ranges.first(where: { $0.mapping.isLost })?.mapping.region else { return nil }
    return "memory region \(region) is gone under the device: its file has been truncated, or the system had no page "
      + "left for it (a full tmpfs, no free huge page, defective memory); start the front-end anew, and look into what it "
      + "does with its memory file"
  }

  /// A view for the accesses of a burst. The map must outlive it.
  package var view: MemoryView { unsafe MemoryView(entries: entries, count: ranges.count) }
}
