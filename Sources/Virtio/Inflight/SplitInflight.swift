/// The region of a split ring in an in-flight record (vhost-user, `QueueRegionSplit`): an entry for each descriptor, used
/// for the heads of chains.
final class SplitInflight: InflightTracker {
  private static let lastBatchHead = 12
  private static let usedIndex = 14
  private static let entries = 16
  private static let entryBytes = 16
  /// In an entry: whether it is in flight, the entry before it in the last batch, and when it was fetched.
  private enum Field {
    static let inflight = 0
    static let next = 6
    static let counter = 8
  }

  static func bytes(descriptors: Int) -> Int { entries + descriptors * entryBytes }

  let queue: InflightQueue
  private let bytes: InflightBytes
  private var counter: UInt64
  /// The head of the list of the last batch.
  private var last: UInt16
  /// What was returned and not announced.
  private var batch: [UInt16] = []
  let start: (nextAvail: UInt16, nextUsed: UInt16)
  var pending: [InflightChain]

  /// Takes the region over from whoever served the ring before.
  ///
  /// - Parameters:
  ///   - ringSize: The ring's descriptors.
  ///   - position: Where the ring goes on if the region has not been used yet. Its used index is the ring's own in any case.
  /// - Throws: ``VirtioError`` `badInflightRecord`, when what stands there was written by no back-end.
  init(
    _ queue: InflightQueue, ringSize: Int, position: (nextAvail: UInt16, nextUsed: UInt16)
  ) throws(VirtioError) {
    let bytes = queue.bytes
    let used = position.nextUsed
    self.queue = queue
    self.bytes = bytes
    guard try bytes.isInitialised(capacity: queue.capacity) else {
      for entry in 0..<queue.capacity { bytes.store(UInt8(0), at: SplitInflight.at(entry, Field.inflight)) }
      bytes.store(used, at: SplitInflight.usedIndex)
      bytes.setInitialised(capacity: queue.capacity)
      (counter, last, start, pending) = (0, 0, position, [])
      return
    }
    last = bytes.u16(SplitInflight.lastBatchHead)
    var isInFlight = (0..<queue.capacity).map { bytes.u8(SplitInflight.at($0, Field.inflight)) != 0 }
    let finished = try SplitInflight.lastBatch(
      bytes, from: last, recorded: bytes.u16(SplitInflight.usedIndex), used: used, capacity: queue.capacity,
      isAnyInFlight: isInFlight.contains(true))
    for entry in finished where isInFlight[entry] {
      isInFlight[entry] = false
      bytes.store(UInt8(0), at: SplitInflight.at(entry, Field.inflight))
    }
    bytes.store(used, at: SplitInflight.usedIndex)
    let chains = isInFlight.indices.filter { isInFlight[$0] }.map { entry in
      InflightChain(
        entry: UInt16(truncatingIfNeeded: entry), counter: bytes.u64(SplitInflight.at(entry, Field.counter)))
    }
    if let last = chains.last, Int(last.entry) >= ringSize {
      throw VirtioError(
        .badInflightRecord,
        "the in-flight record has a chain at descriptor \(last.entry), and the ring has \(ringSize)")
    }
    counter = InflightChain.nextCounter(chains)
    pending = InflightChain.ordered(chains)
    // All that was fetched was either used or is in flight.
    start = (used &+ UInt16(truncatingIfNeeded: chains.count), used)
  }

  /// The entries of the batch that was announced before the record could say so.
  private static func lastBatch(
    _ bytes: InflightBytes, from last: UInt16, recorded: UInt16, used: UInt16, capacity: Int, isAnyInFlight: Bool
  ) throws(VirtioError) -> [Int] {
    // Without anything in flight the record has nothing to say, whatever ring it was for.
    guard isAnyInFlight else { return [] }
    let count = Int(used &- recorded)
    guard count <= capacity else {
      throw VirtioError(
        .badInflightRecord,
        "the in-flight record says that the used index is \(recorded), and in the ring it is \(used): it is not of this ring"
      )
    }
    var finished: [Int] = []
    var entry = Int(last)
    for _ in 0..<count {
      guard entry < capacity else {
        throw VirtioError(
          .badInflightRecord,
          "the in-flight record names descriptor \(entry) among those used last, and has room for \(capacity)")
      }
      finished.append(entry)
      entry = Int(bytes.u16(at(entry, Field.next)))
    }
    return finished
  }

  private static func at(_ entry: Int, _ field: Int) -> Int { entries + entry * entryBytes + field }

  func fetched<A: RingArea>(_ area: A, at position: UInt16, id: UInt16, descriptors: Int) -> UInt16? {
    bytes.store(counter, at: SplitInflight.at(Int(id), Field.counter))
    counter &+= 1
    bytes.store(UInt8(1), at: SplitInflight.at(Int(id), Field.inflight))
    return id
  }

  func returned(_ entry: UInt16) {
    bytes.store(last, at: SplitInflight.at(Int(entry), Field.next))
    last = entry
    bytes.store(last, at: SplitInflight.lastBatchHead)
    batch.append(entry)
  }

  // That the ring's used index is ahead of the record's says it all.
  func willPublish(_ next: UInt16) {}

  func published(_ next: UInt16) {
    for entry in batch { bytes.store(UInt8(0), at: SplitInflight.at(Int(entry), Field.inflight)) }
    batch.removeAll(keepingCapacity: true)
    bytes.store(next, at: SplitInflight.usedIndex)
  }
}
