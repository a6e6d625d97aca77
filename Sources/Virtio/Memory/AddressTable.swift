/// The sorted entries of an ``AddressMap`` and a directory of them: addresses cut into pieces of equal size, and for each
/// piece the first entry that reaches into it or lies behind it. So an entry is found in about the same time whether there
/// are three of them or five hundred, unless very many share a piece.
///
/// It borrows its memory from the map, which frees it.
@safe struct AddressTable {
  /// A range of addresses that is contiguous in this process.
  @safe struct Entry {
    let start: UInt64
    private let place: UnsafeMutableRawPointer?
    /// The length in bytes for whoever reads, and for whoever writes; 0 where that is not allowed.
    private let readable: UInt64
    private let writable: UInt64
    let size: UInt64
    let access: AddressMap.Access

    init(start: UInt64, size: UInt64, host: UnsafeMutableRawPointer?, access: AddressMap.Access) {
      self.start = start
      unsafe place = host
      self.size = size
      self.access = access
      readable = access.contains(.read) ? size : 0
      writable = access.contains(.write) ? size : 0
    }

    /// Reaches no address.
    static var none: Entry { unsafe Entry(start: 0, size: 0, host: nil, access: []) }

    /// Where it is in this process; of an entry that has an address.
    @unsafe @inline(__always) var host: UnsafeMutableRawPointer { unsafe place.unsafelyUnwrapped }

    /// The last address; that of the whole address space has no end that could be written.
    var last: UInt64 { start &+ (max(size, 1) &- 1) }

    @inline(__always) func contains(_ address: UInt64) -> Bool { address &- start < size }

    /// How many bytes there are for one kind of access.
    @inline(__always) func size(for access: AddressMap.Access) -> UInt64 {
      switch access {
      case .read: readable
      case .write: writable
      default: self.access.isSuperset(of: access) ? size : 0
      }
    }
  }

  /// The most pieces.
  private static let maxPieces: UInt64 = 4096

  let count: Int
  private let entries: UnsafeMutablePointer<Entry>
  /// For each piece, by the last bits of its number, how many bytes behind the first entry the one to be looked at first is.
  private let directory: UnsafeMutablePointer<UInt32>
  private let mask: UInt64
  private let shift: UInt64

  /// A table of entries that are sorted and do not overlap; to be freed.
  init(_ sorted: [Entry]) {
    count = sorted.count
    unsafe entries = .allocate(capacity: sorted.count + 1)
    for (i, entry) in sorted.enumerated() { unsafe (entries + i).initialize(to: entry) }
    // For pieces behind which there is no entry.
    unsafe (entries + sorted.count).initialize(to: .none)
    var pieces: UInt64 = 1
    while pieces < 8 * sorted.count && pieces < AddressTable.maxPieces { pieces *= 2 }
    let (first, last) = (sorted.first?.start ?? 0, sorted.last?.last ?? 0)
    // No two pieces that have entries share the last bits of their numbers.
    var shift: UInt64 = 0
    while last >> shift - first >> shift >= pieces { shift += 1 }
    self.shift = shift
    mask = pieces - 1
    unsafe directory = .allocate(capacity: Int(pieces))
    let stride = UInt32(MemoryLayout<Entry>.stride)
    unsafe directory.initialize(repeating: UInt32(sorted.count) * stride, count: Int(pieces))
    guard !sorted.isEmpty else { return }
    var next = 0
    for piece in first >> shift...last >> shift {
      while sorted[next].last >> shift < piece { next += 1 }
      unsafe directory[Int(piece & mask)] = UInt32(next) * stride
    }
  }

  func free() {
    unsafe entries.deallocate()
    unsafe directory.deallocate()
  }

  subscript(index: Int) -> Entry {
    precondition(index >= 0 && index < count)
    return unsafe entries[index]
  }

  /// The entry that covers an address; one that does not when there is none.
  @inline(__always) func find(_ address: UInt64) -> UnsafePointer<Entry> {
    let entry = unsafe likely(address)
    return unsafe entry.pointee.contains(address) ? entry : search(address)
  }

  /// The entry that covers an address unless several share its piece; what it is has to be looked at.
  @inline(__always) func likely(_ address: UInt64) -> UnsafePointer<Entry> {
    let offset = unsafe directory[Int(truncatingIfNeeded: address &>> shift & mask)]
    return unsafe UnsafeRawPointer(UnsafeRawPointer(entries) + Int(offset)).assumingMemoryBound(to: Entry.self)
  }

  /// Where a piece is of which all lies in one range; nil when it does not, or is not mapped for that access, for
  /// ``MemoryView/segment(at:length:for:)`` to find out.
  @unsafe @inline(__always) func whole(
    at address: UInt64, length: Int, for access: AddressMap.Access
  ) -> UnsafeMutableRawPointer? {
    var entry = unsafe likely(address)
    var offset = unsafe address &- entry.pointee.start
    var size = unsafe entry.pointee.size(for: access)
    if _slowPath(offset >= size) {
      unsafe entry = search(address)
      offset = unsafe address &- entry.pointee.start
      size = unsafe entry.pointee.size(for: access)
      guard offset < size else { return nil }
    }
    guard UInt64(truncatingIfNeeded: length) <= size &- offset else { return nil }
    return unsafe entry.pointee.host + Int(truncatingIfNeeded: offset)
  }

  /// Looks among the entries behind that one.
  @inline(never) func search(_ address: UInt64) -> UnsafePointer<Entry> {
    var low = unsafe Int(directory[Int(address &>> shift & mask)]) / MemoryLayout<Entry>.stride
    var high = count
    while low < high {
      let middle = (low &+ high) / 2
      let entry = unsafe entries + middle
      if unsafe entry.pointee.contains(address) { return unsafe UnsafePointer(entry) }
      if unsafe address < entry.pointee.start { high = middle } else { low = middle &+ 1 }
    }
    return unsafe UnsafePointer(entries + count)
  }
}
