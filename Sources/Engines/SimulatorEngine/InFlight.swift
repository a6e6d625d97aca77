/// What a queue has fetched and not completed, and when each is due.
struct InFlight<Item> {
  private var items: [(due: UInt64, item: Item)] = []

  var count: Int { items.count }

  /// When the first one is due, in nanoseconds of `MonotonicClock`; nil when there is none.
  ///
  /// - Parameter isOrdered: Whether those that were added later have to wait for it.
  func nextDue(isOrdered: Bool) -> UInt64? { isOrdered ? items.first?.due : items.lazy.map(\.due).min() }

  mutating func add(_ item: Item, due: UInt64) { items.append((due, item)) }

  /// Takes those that are due by `now`, in the order added; the first one that is not due ends it.
  mutating func take(dueBy now: UInt64) -> [Item] {
    let end = items.firstIndex { $0.due > now } ?? items.count
    defer { items.removeFirst(end) }
    return items[..<end].map(\.item)
  }

  /// Takes those that are due by `now`, shuffled.
  mutating func take(dueBy now: UInt64, shuffledBy random: inout SeededRandom) -> [Item] {
    var due: [Item] = []
    items.removeAll { entry in
      guard entry.due <= now else { return false }
      due.append(entry.item)
      return true
    }
    due.shuffle(using: &random)
    return due
  }

  mutating func removeAll() { items.removeAll() }
}
