/// The region of a packed ring in an in-flight record (vhost-user, `QueueRegionPacked`): a pool of entries that descriptors
/// are copied into, because in the ring others take their place.
///
/// What was begun and not finished is recognised by the *old* fields, which are changed last: a chain is fetched when the
/// old head of the free list moves, and used when the old used position does.
final class PackedInflight: InflightTracker {
  private static let freeHead = 12
  private static let oldFreeHead = 14
  /// The used index, the old one, their wrap counters, and two bytes of padding: stored at once, so that index and counter
  /// never contradict each other.
  private static let positions = 16
  private static let entries = 32
  private static let entryBytes = 32
  private enum Field {
    static let inflight = 0
    static let next = 2
    static let last = 4
    static let count = 6
    static let counter = 8
    static let id = 16
    static let flags = 18
    static let length = 20
    static let address = 24
  }

  static func bytes(descriptors: Int) -> Int { entries + descriptors * entryBytes }

  let queue: InflightQueue
  private let bytes: InflightBytes
  private var counter: UInt64
  /// The next free entry of each; one that is not there ends the list.
  private var next: [UInt16]
  /// The last entry of the chain that begins at each.
  private var last: [UInt16]
  private var free: UInt16
  /// The used position that has been announced.
  private var used: UInt16
  /// What was returned and not announced.
  private var batch: [UInt16] = []
  let start: (nextAvail: UInt16, nextUsed: UInt16)
  var pending: [InflightChain]

  /// Takes the region over from whoever served the ring before.
  ///
  /// - Parameters:
  ///   - area: The ring, which tells whether what was begun was announced.
  ///   - position: Where the ring goes on if the region has not been used yet; else the region knows better.
  /// - Throws: ``VirtioError`` `badInflightRecord`, when what stands there was written by no back-end.
  init(
    _ queue: InflightQueue, area: PackedRingArea, position: (nextAvail: UInt16, nextUsed: UInt16)
  ) throws(VirtioError) {
    let bytes = queue.bytes
    self.queue = queue
    self.bytes = bytes
    let capacity = queue.capacity
    last = Array(repeating: 0, count: capacity)
    guard try bytes.isInitialised(capacity: capacity) else {
      next = (0..<capacity).map { UInt16(truncatingIfNeeded: $0 + 1) }
      for entry in 0..<capacity {
        bytes.store(UInt8(0), at: PackedInflight.at(entry, Field.inflight))
        bytes.store(next[entry], at: PackedInflight.at(entry, Field.next))
      }
      bytes.store(UInt16(0), at: PackedInflight.freeHead)
      bytes.store(UInt16(0), at: PackedInflight.oldFreeHead)
      PackedInflight.setPositions(bytes, used: position.nextUsed, old: position.nextUsed)
      bytes.setInitialised(capacity: capacity)
      (counter, free, used, start, pending) = (0, 0, position.nextUsed, position, [])
      return
    }
    next = (0..<capacity).map { bytes.u16(PackedInflight.at($0, Field.next)) }

    let positions = bytes.u64(PackedInflight.positions)
    let newUsed = PackedInflight.position(positions, index: 0, wrap: 32)
    used = PackedInflight.position(positions, index: 16, wrap: 40)
    for position in [newUsed, used] where Int(position & ~PackedRingArea.wrapCounter) >= area.size {
      throw VirtioError(
        .badInflightRecord,
        "the in-flight record says that descriptor \(position & ~PackedRingArea.wrapCounter) is used next, and the ring "
          + "has \(area.size)")
    }
    free = bytes.u16(PackedInflight.oldFreeHead)
    if newUsed != used && area.announced(from: used) == 0 {
      // The guest has been told, or the descriptor would still be available as it was.
      free = bytes.u16(PackedInflight.freeHead)
      used = newUsed
    }

    let states = try PackedInflight.states(bytes, free: free, next: next)
    let chains = try PackedInflight.chains(bytes, states, next: next, last: &last)
    let descriptors = chains.reduce(0) { $0 + $1.descriptors.count }
    guard descriptors <= area.size else {
      throw VirtioError(
        .badInflightRecord,
        "the in-flight record has \(descriptors) descriptors in flight, and the ring has \(area.size)")
    }
    for entry in 0..<capacity where states[entry] == .free && bytes.u8(PackedInflight.at(entry, Field.inflight)) != 0 {
      bytes.store(UInt8(0), at: PackedInflight.at(entry, Field.inflight))
    }
    bytes.store(free, at: PackedInflight.oldFreeHead)
    bytes.store(free, at: PackedInflight.freeHead)
    PackedInflight.setPositions(bytes, used: used, old: used)
    counter = InflightChain.nextCounter(chains)
    pending = InflightChain.ordered(chains)
    // Between the two positions are the descriptors in flight, whatever the order in which chains come back.
    start = (area.advance(used, by: descriptors), used)
  }

  // MARK: Reading

  private enum State {
    /// In no list so far.
    case unknown
    case free
    /// In flight, as the first entry of a chain.
    case head
    case link
  }

  /// Goes through the free list. All that is marked otherwise is the beginning of a chain.
  private static func states(_ bytes: InflightBytes, free: UInt16, next: [UInt16]) throws(VirtioError) -> [State] {
    var states = next.indices.map { bytes.u8(at($0, Field.inflight)) != 0 ? State.head : .unknown }
    var entry = Int(free)
    while entry < states.count {
      guard states[entry] != .free else {
        throw VirtioError(.badInflightRecord, "the free list of the in-flight record is a loop at entry \(entry)")
      }
      states[entry] = .free
      entry = Int(next[entry])
    }
    return states
  }

  /// Goes through the chains, which with the free list have to be all that there is.
  private static func chains(
    _ bytes: InflightBytes, _ free: [State], next: [UInt16], last: inout [UInt16]
  ) throws(VirtioError) -> [InflightChain] {
    var states = free
    var chains: [InflightChain] = []
    for head in free.indices where free[head] == .head {
      var chain = InflightChain(entry: UInt16(truncatingIfNeeded: head), counter: bytes.u64(at(head, Field.counter)))
      let count = Int(bytes.u16(at(head, Field.count)))
      var entry = head
      for i in 0..<count {
        guard entry < states.count, states[entry] == (i == 0 ? .head : .unknown) else {
          throw VirtioError(
            .badInflightRecord,
            "the chain at entry \(head) of the in-flight record leads to entry \(entry), which is not its")
        }
        if i > 0 { states[entry] = .link }
        chain.descriptors.append(descriptor(bytes, entry))
        last[head] = UInt16(truncatingIfNeeded: entry)
        entry = Int(next[entry])
      }
      guard count > 0, last[head] == bytes.u16(at(head, Field.last)) else {
        throw VirtioError(
          .badInflightRecord, "the chain at entry \(head) of the in-flight record does not end where it says")
      }
      chains.append(chain)
    }
    if let lost = states.firstIndex(of: .unknown) {
      throw VirtioError(
        .badInflightRecord, "entry \(lost) of the in-flight record is neither free nor part of a chain")
    }
    return chains
  }

  private static func descriptor(_ bytes: InflightBytes, _ entry: Int) -> RingDescriptor {
    RingDescriptor(
      address: bytes.u64(at(entry, Field.address)), length: bytes.u32(at(entry, Field.length)),
      flags: bytes.u16(at(entry, Field.flags)), link: bytes.u16(at(entry, Field.id)))
  }

  private static func position(_ positions: UInt64, index: UInt64, wrap: UInt64) -> UInt16 {
    UInt16(truncatingIfNeeded: positions >> index) & ~PackedRingArea.wrapCounter
      | (UInt8(truncatingIfNeeded: positions >> wrap) != 0 ? PackedRingArea.wrapCounter : 0)
  }

  // MARK: Writing

  private static func at(_ entry: Int, _ field: Int) -> Int { entries + entry * entryBytes + field }

  private static func setPositions(_ bytes: InflightBytes, used: UInt16, old: UInt16) {
    func index(_ position: UInt16) -> UInt64 { UInt64(position & ~PackedRingArea.wrapCounter) }
    func wrap(_ position: UInt16) -> UInt64 { position & PackedRingArea.wrapCounter != 0 ? 1 : 0 }
    bytes.store(index(used) | index(old) << 16 | wrap(used) << 32 | wrap(old) << 40, at: positions)
  }

  func fetched<A: RingArea>(_ area: A, at position: UInt16, id: UInt16, descriptors: Int) -> UInt16? {
    var taken: [Int] = []
    var entry = Int(free)
    while taken.count < descriptors {
      guard entry < next.count else { return nil }
      taken.append(entry)
      entry = Int(next[entry])
    }
    guard let head = taken.first, let end = taken.last else { return nil }
    bytes.store(UInt16(0), at: PackedInflight.at(head, Field.count))
    bytes.store(counter, at: PackedInflight.at(head, Field.counter))
    counter &+= 1
    bytes.store(UInt8(1), at: PackedInflight.at(head, Field.inflight))
    var index = area.head(at: position)
    for (i, entry) in taken.enumerated() {
      let descriptor = area.descriptor(index)
      if entry == end { bytes.store(UInt16(end), at: PackedInflight.at(head, Field.last)) }
      bytes.store(UInt16(i + 1), at: PackedInflight.at(head, Field.count))
      bytes.store(descriptor.address, at: PackedInflight.at(entry, Field.address))
      bytes.store(descriptor.length, at: PackedInflight.at(entry, Field.length))
      bytes.store(descriptor.flags, at: PackedInflight.at(entry, Field.flags))
      bytes.store(descriptor.link, at: PackedInflight.at(entry, Field.id))
      free = next[entry]
      bytes.store(free, at: PackedInflight.freeHead)
      index = area.next(index, descriptor)
    }
    last[head] = UInt16(end)
    bytes.store(free, at: PackedInflight.oldFreeHead)
    return UInt16(head)
  }

  func returned(_ entry: UInt16) {
    let end = Int(last[Int(entry)])
    next[end] = free
    bytes.store(free, at: PackedInflight.at(end, Field.next))
    free = entry
    bytes.store(free, at: PackedInflight.freeHead)
    batch.append(entry)
  }

  func willPublish(_ next: UInt16) { PackedInflight.setPositions(bytes, used: next, old: used) }

  func published(_ next: UInt16) {
    for entry in batch { bytes.store(UInt8(0), at: PackedInflight.at(Int(entry), Field.inflight)) }
    batch.removeAll(keepingCapacity: true)
    used = next
    bytes.store(free, at: PackedInflight.oldFreeHead)
    PackedInflight.setPositions(bytes, used: next, old: next)
  }
}
