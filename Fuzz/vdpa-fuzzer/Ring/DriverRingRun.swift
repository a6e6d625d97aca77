internal import Virtio

/// The steps of a driver on one ring for one input, and what must hold after each of them.
struct DriverRingRun {
  /// What a record with the walker's bit stands for. Other numbers stand for one of these, too.
  enum Step: UInt8, CaseIterable {
    /// A chain of `a` and one pieces of a length, those from `b` on writable, is added, `c` and one times; with bit 7 of `a`
    /// in a table.
    case add
    case publish
    /// Up to `a` and one chains are taken back.
    case collect
    /// `a` says whether, `b` after how many.
    case setWantsCalls
  }

  static let defaultSteps = [
    Record(kind: Record.walker | Step.add.rawValue, a: 1, b: 1, c: 7, d: Record.length(64)),
    Record(kind: Record.walker | Step.publish.rawValue),
    Record(kind: Record.walker | Step.collect.rawValue, a: 15),
  ]

  private var ring: DriverRing
  private let place: RingPlacement
  private let memory: FuzzMemory
  private let hasTables: Bool
  private let tables: (address: UInt64, bytes: UInt64, length: Int)
  /// Whether nobody else writes: then every byte that changes has to be accounted for.
  private let isAlone: Bool
  private var model: DriverModel

  init(_ ring: RingMemory, _ place: RingPlacement, _ memory: FuzzMemory, _ input: FuzzInput, isAlone: Bool) {
    let length = 1 + Int(input.placeOffset & 7)
    tables = (
      (place.parts[0] &+ UInt64(place.lengths[0]) &+ UInt64(input.placeOffset >> 3)) & ~15,
      UInt64(IndirectTables.bytes(count: place.size, length: length)), length
    )
    let found = try? IndirectTables(count: place.size, length: length, at: tables.address, memory: memory.view)
    hasTables = found != nil
    self.ring = DriverRing(ring, features: input.features, tables: found, startingAt: place.first)
    self.place = place
    self.memory = memory
    self.isAlone = isAlone
    model = DriverModel(place, memory, isInOrder: input.features.contains(.inOrder))
    if isAlone { for i in 0..<3 { memory.allow(place.parts[i], UInt64(place.lengths[i])) } }
    check("a new ring")
  }

  /// What the device has.
  var published: [DeviceWrites.Chain] {
    model.chains.filter(\.isPublished).map { DeviceWrites.Chain(id: $0.id, descriptors: $0.descriptors) }
  }

  mutating func step(_ r: Record) {
    switch Step(rawValue: (r.kind & 0x7f) % UInt8(Step.allCases.count)) ?? .add {
    case .add:
      for _ in 0...r.c % 64 { if !add(r) { break } }
    case .publish:
      _ = ring.publish()
      model.publish()
      if isAlone { memory.allow(place.format == .split ? place.availIndex : place.parts[0], UInt64(publishBytes)) }
      check("publish")
    case .collect:
      for _ in 0...r.a % 64 { if !collect() { break } }
    case .setWantsCalls:
      Oracle.bounded("setWantsCalls") { ring.setWantsCalls(r.a & 1 == 1, after: Int(r.b)) }
      if isAlone {
        memory.allow(place.availFlags, 2)
        memory.allow(place.format == .split ? place.usedEvent : place.driverEvent &+ 2, 2)
      }
      check("setWantsCalls")
    }
    let taken = model.chains.reduce(0) { $0 + $1.descriptors }
    Oracle.require(ring.freeCount + taken == place.size, "\(ring.freeCount) free, \(taken) taken of \(place.size)")
    Oracle.require(ring.outstanding == model.chains.count, "\(ring.outstanding) chains, not \(model.chains.count)")
  }

  /// The available index, or any descriptors.
  private var publishBytes: Int { place.format == .split ? 2 : place.lengths[0] }

  private func check(_ step: StaticString) {
    if isAlone { memory.requireUnchanged(after: step) }
  }

  /// Adds a chain. False when there was no room.
  private mutating func add(_ r: Record) -> Bool {
    let count = Int(r.a % 16) + 1
    let isIndirect = r.a & 128 != 0
    let address = memory.address(r.e, ring: place)
    let pieces = (0..<count).map { i in
      DriverRing.Piece(
        address: address &+ UInt64(i) &* UInt64(r.length), length: r.length, isWritable: i >= Int(r.b))
    }
    let hasRoom =
      isIndirect ? hasTables && count <= tables.length && ring.freeCount > 0 : count <= ring.freeCount
    let id = Oracle.bounded("add") { ring.add(pieces, isIndirect: isIndirect) }
    Oracle.require((id != nil) == hasRoom, "room for \(count) pieces: \(hasRoom), added: \(id != nil)")
    guard let id else {
      check("add")
      return false
    }
    let isNew = Int(id) < place.size && !model.chains.contains { $0.id == id }
    Oracle.require(isNew, "id \(id) is taken already")
    if isAlone {
      memory.allow(place.parts[0], UInt64(place.lengths[0]))
      if place.format == .split { memory.allow(place.availHead(0), UInt64(2 * place.size)) }
      if isIndirect { memory.allow(tables.address, tables.bytes) }
    }
    check("add")
    let writable = pieces.reduce(UInt64(0)) { $0 + ($1.isWritable ? UInt64($1.length) : 0) }
    model.chains.append(
      DriverModel.Chain(id: id, descriptors: isIndirect ? 1 : count, writable: writable, isPublished: false))
    return true
  }

  /// Takes one chain back. False when there is none.
  private mutating func collect() -> Bool {
    let expected = isAlone ? model.expected() : nil
    let result = Oracle.bounded("collect") { () -> DriverModel.Used in
      do throws(DriverRing.DeviceFault) {
        return try ring.collect().map { .chain(id: $0.head, length: $0.length) } ?? .nothing
      } catch {
        return .fault
      }
    }
    check("collect")
    if let expected { Oracle.require(result == expected, "\(result) came of what has to be \(expected)") }
    guard case .chain(let id, let length) = result else { return false }
    model.take(id, length: length)
    return true
  }
}
