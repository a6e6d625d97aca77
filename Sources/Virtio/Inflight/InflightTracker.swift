/// Keeps one ring's region of an in-flight record while the ring is served, and knows at its start what is to be done again.
///
/// Nothing is read from the region after the start: what is needed of it is private.
protocol InflightTracker: AnyObject {
  /// Which region it is.
  var queue: InflightQueue { get }
  /// Where the ring goes on, behind the chains that are in flight.
  var start: (nextAvail: UInt16, nextUsed: UInt16) { get }
  /// The chains that were in flight at the start and have not been fetched again, the first one last.
  var pending: [InflightChain] { get set }

  /// Notes a chain that was fetched, before the device gets it.
  ///
  /// - Parameters:
  ///   - position: Where it was announced.
  ///   - id: Split: the index of its head.
  ///   - descriptors: How many of the ring's it takes.
  /// - Returns: The entry that stands for it; nil when no entries are left.
  func fetched<A: RingArea>(_ area: A, at position: UInt16, id: UInt16, descriptors: Int) -> UInt16?
  /// Notes that a chain is about to be announced as used.
  func returned(_ entry: UInt16)
  /// Notes that the used position is about to move for those that were returned.
  func willPublish(_ next: UInt16)
  /// Notes that it has.
  func published(_ next: UInt16)
}

/// A chain that whoever served the ring before had fetched and not returned.
struct InflightChain {
  /// Split: the index of its head. Packed: that of its first entry in the record.
  let entry: UInt16
  /// When it was fetched, among the others.
  let counter: UInt64
  /// Packed: its descriptors, as they were; the ring may not have them any more.
  var descriptors: [RingDescriptor] = []

  /// The chains in the order in which they are to be done again, the first one last.
  static func ordered(_ chains: [InflightChain]) -> [InflightChain] {
    chains.sorted { ($0.counter, $0.entry) > ($1.counter, $1.entry) }
  }

  /// The count that the next chain to be fetched has.
  static func nextCounter(_ chains: [InflightChain]) -> UInt64 {
    chains.map(\.counter).max().map { $0 &+ 1 } ?? 0
  }
}
