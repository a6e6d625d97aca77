/// The sorted entries of an ``AddressMap`` and a directory of them: addresses cut into pieces of equal size, and for each
/// piece the entry that has most of it. So an entry is found in about the same time whether there are three of them or five
/// hundred, unless very many share a piece; small ones that share theirs with a large one are searched for.
///
/// It borrows its memory from the map, which frees it.
@safe struct AddressTable {
  /// A range of addresses that is contiguous in this process.
  @safe struct Entry {
    let start: UInt64
    /// What makes an address one of this process when it is added.
    fileprivate let distance: UInt64
    /// The length in bytes for whoever reads, and for whoever writes; 0 where that is not allowed.
    private let readable: UInt64
    private let writable: UInt64
    let size: UInt64
    let access: AddressMap.Access
    /// How many entries there are before this one and from it on.
    fileprivate var before: UInt32 = 0
    fileprivate var after: UInt32 = 0

    init(start: UInt64, size: UInt64, host: UnsafeMutableRawPointer?, access: AddressMap.Access) {
      self.start = start
      distance = UInt64(UInt(bitPattern: host)) &- start
      self.size = size
      self.access = access
      readable = access.contains(.read) ? size : 0
      writable = access.contains(.write) ? size : 0
    }

    /// Reaches no address.
    static var none: Entry { unsafe Entry(start: 0, size: 0, host: nil, access: []) }

    /// Where it is in this process; of an entry that has an address.
    @unsafe @inline(__always) var host: UnsafeMutableRawPointer {
      unsafe UnsafeMutableRawPointer(bitPattern: UInt(host(at: start))).unsafelyUnwrapped
    }

    /// Where one of its addresses is in this process.
    @inline(__always) fileprivate func host(at address: UInt64) -> UInt64 { address &+ distance }

    /// Whether all of a piece is in it, for one kind of access.
    @inline(__always) fileprivate func contains(_ address: UInt64, length: Int, for access: AddressMap.Access) -> Bool {
      let (end, isPastAll) = (address &- start).addingReportingOverflow(UInt64(truncatingIfNeeded: length))
      return !isPastAll && end <= size(for: access)
    }

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
  /// For each piece, by the last bits of its number, the entry to be looked at first.
  private let directory: UnsafeMutablePointer<UnsafePointer<Entry>>
  let lookup: Lookup

  /// A table of entries that are sorted and do not overlap; to be freed.
  init(_ sorted: [Entry]) {
    count = sorted.count
    unsafe entries = .allocate(capacity: sorted.count + 1)
    for (i, entry) in sorted.enumerated() {
      unsafe (entries + i).initialize(to: entry)
      unsafe entries[i].before = UInt32(i)
      unsafe entries[i].after = UInt32(sorted.count - i)
    }
    // For pieces that no entry reaches into.
    unsafe (entries + sorted.count).initialize(to: .none)
    unsafe entries[sorted.count].before = UInt32(sorted.count)
    var pieces: UInt64 = 1
    while pieces < 8 * sorted.count && pieces < AddressTable.maxPieces { pieces *= 2 }
    let (first, last) = (sorted.first?.start ?? 0, sorted.last?.last ?? 0)
    // No two pieces that have entries share the last bits of their numbers.
    var shift: UInt64 = 0
    while last >> shift - first >> shift >= pieces { shift += 1 }
    unsafe directory = .allocate(capacity: Int(pieces))
    unsafe directory.initialize(repeating: UnsafePointer(entries + sorted.count), count: Int(pieces))
    unsafe lookup = Lookup(directory: UnsafePointer(directory), mask: pieces - 1, shift: shift)
    guard !sorted.isEmpty else { return }
    var next = 0
    for piece in first >> shift...last >> shift {
      while sorted[next].last >> shift < piece { next += 1 }
      let start = piece << shift
      let end = start | (1 << shift - 1)
      var (most, index) = (UInt64(0), next)
      while index < sorted.count, sorted[index].start <= end {
        // Less 1, for of the whole address space there is no length.
        let part = min(sorted[index].last, end) - max(sorted[index].start, start)
        if index == next || part > most { unsafe directory[Int(piece & (pieces - 1))] = UnsafePointer(entries + index) }
        most = max(most, part)
        index += 1
      }
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

  /// What it takes to find an entry: few words, which loops keep in registers.
  @safe struct Lookup {
    fileprivate let directory: UnsafePointer<UnsafePointer<Entry>>
    fileprivate let mask: UInt64
    fileprivate let shift: UInt64

    /// The entry that covers an address; one that does not when there is none.
    @inline(__always) func find(_ address: UInt64) -> UnsafePointer<Entry> {
      let entry = unsafe likely(address)
      return unsafe entry.pointee.contains(address) ? entry : Lookup.search(address, from: entry)
    }

    /// The entry that covers an address unless several share its piece; what it is has to be looked at.
    @inline(__always) private func likely(_ address: UInt64) -> UnsafePointer<Entry> {
      unsafe directory[Int(truncatingIfNeeded: address &>> shift & mask)]
    }

    /// Where a piece is in this process of which all lies in one range; nil when ``whole(at:length:for:)`` has to tell.
    @inline(__always) func likely(at address: UInt64, length: Int, for access: AddressMap.Access) -> UInt64? {
      let entry = unsafe likely(address)
      return unsafe entry.pointee.contains(address, length: length, for: access) ? entry.pointee.host(at: address) : nil
    }

    /// Where a piece is in this process of which all lies in one range; nil when it does not, or is not mapped for that
    /// access, for ``MemoryView/segment(at:length:for:)`` to find out.
    @inline(never) func whole(at address: UInt64, length: Int, for access: AddressMap.Access) -> UInt64? {
      let entry = unsafe find(address)
      return unsafe entry.pointee.contains(address, length: length, for: access) ? entry.pointee.host(at: address) : nil
    }

    /// Looks among all entries, of which that is one.
    @inline(never)
    private static func search(_ address: UInt64, from entry: UnsafePointer<Entry>) -> UnsafePointer<Entry> {
      var low = unsafe entry - Int(entry.pointee.before)
      let end = unsafe entry + Int(entry.pointee.after)
      var high = unsafe end
      while unsafe low < high {
        let middle = unsafe low + (high - low) / 2
        if unsafe middle.pointee.contains(address) { return unsafe middle }
        if unsafe address < middle.pointee.start { unsafe high = middle } else { unsafe low = middle + 1 }
      }
      return unsafe end
    }
  }
}
