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

  private mutating func collect() -> Bool {
    let result = Oracle.bounded("collect") { Result { () throws(SplitDriverRing.DeviceFault) in try ring.collect() } }
    check("collect")
    switch result {
    case .success(nil):
      return false
    case .success(let used?):
      guard let i = chains.firstIndex(where: { $0.head == used.head && $0.isPublished }) else {
        Oracle.fail("head \(used.head) came back, which the device does not have")
      }
      Oracle.require(UInt64(used.length) <= chains[i].writable, "\(used.length) bytes are more than there is room for")
      chains.remove(at: i)
      return true
    case .failure(let fault):
      // Nobody has put it right in the meantime.
      if isAlone {
        let again = Result { () throws(SplitDriverRing.DeviceFault) in try ring.collect() }
        guard case .failure(fault) = again else { Oracle.fail("the fault \(fault) was there once and not again") }
      }
      return false
    }
  }
}
