internal import Virtio

/// The steps of a driver on one ring for one input, and what must hold after each of them.
struct DriverRingRun {
  /// What a record with the walker's bit stands for. Other numbers stand for one of these, too.
  enum Step: UInt8 {
    /// A chain of `a` and one pieces of a length, those from `b` on writable, is added, `c` and one times.
    case add
    case publish
    /// Up to `a` and one chains are taken back.
    case collect
    /// `a` says whether.
    case setWantsCalls
  }

  static let defaultSteps = [
    Record(kind: Record.walker | Step.add.rawValue, a: 1, b: 1, c: 7, d: Record.length(64)),
    Record(kind: Record.walker | Step.publish.rawValue),
    Record(kind: Record.walker | Step.collect.rawValue, a: 15),
  ]

  /// A chain that was added and not taken back.
  private struct Chain {
    let head: UInt16
    let descriptors: Int
    let writable: UInt64
    var isPublished = false
  }

  private var ring: SplitDriverRing
  private let place: RingPlacement
  private let memory: FuzzMemory
  /// Whether nobody else writes: then every byte that changes has to be accounted for.
  private let isAlone: Bool
  private var chains: [Chain] = []
  private var added: UInt16 = 0
  private var collected: UInt16 = 0

  init(area: SplitRingArea, place: RingPlacement, memory: FuzzMemory, isAlone: Bool) {
    ring = SplitDriverRing(area: area)
    self.place = place
    self.memory = memory
    self.isAlone = isAlone
    if isAlone {
      memory.allow(place.availFlags, 4)
      memory.allow(place.usedFlags, 4)
    }
    check("a new ring")
  }

  /// The heads that are with the device.
  var heads: [UInt16] { chains.filter(\.isPublished).map(\.head) }

  mutating func step(_ r: Record) {
    switch Step(rawValue: (r.kind & 0x7f) % 4) ?? .add {
    case .add:
      for _ in 0...r.c % 64 { if !add(r) { break } }
    case .publish:
      _ = ring.publish()
      for i in chains.indices { chains[i].isPublished = true }
      if isAlone { memory.allow(place.availIndex, 2) }
      check("publish")
    case .collect:
      for _ in 0...r.a % 64 { if !collect() { break } }
    case .setWantsCalls:
      ring.setWantsCalls(r.a & 1 == 1)
      if isAlone { memory.allow(place.availFlags, 2) }
      check("setWantsCalls")
    }
    let taken = chains.reduce(0) { $0 + $1.descriptors }
    Oracle.require(ring.freeCount + taken == place.size, "\(ring.freeCount) free, \(taken) taken of \(place.size)")
    Oracle.require(ring.outstanding == chains.count, "\(ring.outstanding) chains instead of \(chains.count)")
  }

  private func check(_ step: StaticString) {
    if isAlone { memory.requireUnchanged(after: step) }
  }

  private mutating func add(_ r: Record) -> Bool {
    let count = Int(r.a % 16) + 1
    let address = memory.address(r.e, ring: place)
    let pieces = (0..<count).map { i in
      SplitDriverRing.Piece(
        address: address &+ UInt64(i) &* UInt64(r.length), length: r.length, isWritable: i >= Int(r.b))
    }
    let free = ring.freeCount
    let head = ring.add(pieces)
    Oracle.require((head != nil) == (count <= free), "\(count) pieces, \(free) descriptors free, added: \(head != nil)")
    guard let head else {
      check("add")
      return false
    }
    Oracle.require(Int(head) < place.size && !chains.contains { $0.head == head }, "head \(head) is taken already")
    if isAlone {
      memory.allow(place.parts[0], UInt64(place.lengths[0]))
      memory.allow(place.availHead(added), 2)
    }
    check("add")
    added &+= 1
    let writable = pieces.reduce(UInt64(0)) { $0 + ($1.isWritable ? UInt64($1.length) : 0) }
    chains.append(Chain(head: head, descriptors: count, writable: writable))
    return true
  }

  /// What the driver has to make of what stands in the used ring.
  private enum Used: Equatable {
    case nothing
    case chain(head: UInt16, length: UInt32)
    case fault
  }

  private func expected() -> Used {
    let waiting = memory.load(place.usedIndex, as: UInt16.self) &- collected
    guard waiting > 0 else { return .nothing }
    let entry = place.usedEntry(collected)
    let (id, length) = (memory.load(entry, as: UInt32.self), memory.load(entry &+ 4, as: UInt32.self))
    guard Int(waiting) <= heads.count, let chain = chains.first(where: { $0.isPublished && UInt32($0.head) == id }),
      UInt64(length) <= chain.writable
    else { return .fault }
    return .chain(head: chain.head, length: length)
  }

  /// Takes one chain back. False when there is none.
  private mutating func collect() -> Bool {
    let expected = isAlone ? expected() : nil
    let result = Oracle.bounded("collect") { () -> Used in
      do throws(SplitDriverRing.DeviceFault) {
        return try ring.collect().map { .chain(head: $0.head, length: $0.length) } ?? .nothing
      } catch {
        return .fault
      }
    }
    check("collect")
    if let expected { Oracle.require(result == expected, "\(result) came of what has to be \(expected)") }
    guard case .chain(let head, let length) = result else { return false }
    guard let i = chains.firstIndex(where: { $0.head == head && $0.isPublished }) else {
      Oracle.fail("head \(head) came back, which the device does not have")
    }
    Oracle.require(UInt64(length) <= chains[i].writable, "\(length) bytes are more than there is room for")
    chains.remove(at: i)
    collected &+= 1
    return true
  }
}
