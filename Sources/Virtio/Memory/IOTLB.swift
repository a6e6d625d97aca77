/// Translations of a guest's IOMMU that a device was given: IO virtual addresses, and the guest physical ones that they
/// stand for (vhost-user, IOMMU support).
///
/// Ranges that continue each other are one; a change costs a copy of the table, a few microseconds for thousands of ranges.
struct IOTLB: Sendable {
  /// A range of IO virtual addresses, and what is behind it in one region of guest memory.
  struct Entry: Sendable, Equatable {
    var start: UInt64
    /// In bytes, at least 1. The address behind the range can be computed.
    var size: UInt64
    var guestAddress: UInt64
    var access: AddressMap.Access

    var last: UInt64 { start + (size - 1) }

    /// The part of it from one address to another, which are inside.
    func part(from first: UInt64, through last: UInt64) -> Entry {
      Entry(start: first, size: last - first + 1, guestAddress: guestAddress + (first - start), access: access)
    }

    /// Whether `next` continues it: the same memory goes on at the address behind it, for the same.
    func isContinued(by next: Entry) -> Bool {
      start + size == next.start && guestAddress + size == next.guestAddress && access == next.access
    }
  }

  /// The most ranges. When there are more, one goes, and misses again.
  static let capacity = 16384

  /// By ascending address, without overlaps.
  private(set) var entries: [Entry] = []
  /// Where the next range to go is looked for.
  private var hand = 0

  /// Adds a range in place of whatever was there.
  ///
  /// - Parameters:
  ///   - entry: The range.
  ///   - region: The guest physical addresses of the region that has all of its memory.
  ///   - isKept: Whether a range is to stay when there are too many.
  mutating func map(_ entry: Entry, in region: Range<UInt64>, keeping isKept: (Entry) -> Bool = { _ in false }) {
    let index = unmap(entry.start, through: entry.last)
    var (new, replaced) = (entry, index..<index)
    if index > 0, case let before = entries[index - 1], before.isContinued(by: new),
      region.contains(before.guestAddress)
    {
      new = Entry(
        start: before.start, size: before.size + new.size, guestAddress: before.guestAddress, access: new.access)
      replaced = index - 1..<index
    }
    // A region may end where another one begins.
    if index < entries.count, case let after = entries[index], new.isContinued(by: after),
      region.contains(after.guestAddress)
    {
      new.size += after.size
      replaced = replaced.lowerBound..<index + 1
    }
    entries.replaceSubrange(replaced, with: CollectionOfOne(new))
    while entries.count > IOTLB.capacity { evict { $0 == new || isKept($0) } }
  }

  /// Takes a range of addresses away.
  ///
  /// - Returns: Where a range that begins at `first` belongs.
  @discardableResult mutating func unmap(_ first: UInt64, through last: UInt64) -> Int {
    let found = indices(first, through: last)
    guard let lowest = entries[found].first, let highest = entries[found].last else { return found.lowerBound }
    var rest: [Entry] = []
    if lowest.start < first { rest.append(lowest.part(from: lowest.start, through: first - 1)) }
    let behind = found.lowerBound + rest.count
    if highest.last > last { rest.append(highest.part(from: last + 1, through: highest.last)) }
    entries.replaceSubrange(found, with: rest)
    return behind
  }

  /// The ranges that have one of these addresses.
  func indices(_ first: UInt64, through last: UInt64) -> Range<Int> {
    let low = index { $0.last >= first }
    return low..<max(low, index { $0.start > last })
  }

  /// Keeps only ranges for which something holds.
  mutating func filter(_ isKept: (Entry) -> Bool) { entries.removeAll { !isKept($0) } }

  /// The first range for which something holds that then holds for all behind it.
  private func index(_ holds: (Entry) -> Bool) -> Int {
    var (low, high) = (0, entries.count)
    while low < high {
      let middle = (low + high) / 2
      if holds(entries[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// Lets the next range go that may.
  private mutating func evict(_ isKept: (Entry) -> Bool) {
    for step in 0..<entries.count {
      let index = (hand + step) % entries.count
      guard !isKept(entries[index]) else { continue }
      hand = index
      entries.remove(at: index)
      return
    }
    // Rings are fewer than there is room.
    entries.removeLast()
  }
}
