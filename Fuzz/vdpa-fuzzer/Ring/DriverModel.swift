internal import Virtio

/// What a driver has to make of what a device has written, read straight from virtio 1.2, §2.7.14, §2.8.22 and §2.7.9.
struct DriverModel {
  /// A chain that was added and not taken back.
  struct Chain {
    let id: UInt16
    let descriptors: Int
    let writable: UInt64
    var isPublished: Bool
  }

  enum Used: Equatable {
    case nothing
    case chain(id: UInt16, length: UInt32)
    case fault
  }

  private let place: RingPlacement
  private let memory: FuzzMemory
  private let isInOrder: Bool
  /// In the order added.
  var chains: [Chain] = []
  /// Where the device returns the next chain.
  private var position: UInt16
  /// How many chains the device has returned all at once and the driver has not taken yet, and the length of the last one
  /// of them.
  private var batch: (count: Int, length: UInt32) = (0, 0)

  init(_ place: RingPlacement, _ memory: FuzzMemory, isInOrder: Bool) {
    self.place = place
    self.memory = memory
    self.isInOrder = isInOrder
    position = place.first
  }

  mutating func publish() {
    for i in chains.indices { chains[i].isPublished = true }
  }

  /// What has to come of taking a chain back now.
  mutating func expected() -> Used {
    if batch.count > 0 { return next() }
    guard let entry = entry() else { return .nothing }
    let published = chains.filter(\.isPublished)
    guard entry.limit <= published.count || place.format == .packed,
      let i = published.firstIndex(where: { UInt32($0.id) == entry.id }), UInt64(entry.length) <= published[i].writable
    else { return .fault }
    guard isInOrder else { return .chain(id: published[i].id, length: entry.length) }
    guard i < entry.limit else { return .fault }
    batch = (i + 1, entry.length)
    return next()
  }

  /// The oldest chain, of which one that came later tells that it is done, with all of its bytes.
  private func next() -> Used {
    let length = batch.count == 1 ? batch.length : UInt32(truncatingIfNeeded: min(chains[0].writable, 0xffff_ffff))
    return .chain(id: chains[0].id, length: length)
  }

  /// What stands where the device returns the next chain, and for how many chains that may stand.
  private func entry() -> (id: UInt32, length: UInt32, limit: Int)? {
    switch place.format {
    case .split:
      let waiting = memory.load(place.usedIndex, as: UInt16.self) &- position
      guard waiting > 0 else { return nil }
      let at = place.usedEntry(position)
      return (memory.load(at), memory.load(at &+ 4), Int(waiting))
    case .packed:
      let at = place.descriptor(place.index(position)) &+ 8
      let flags: UInt16 = memory.load(at &+ 6)
      guard flags & 0x8080 == RingPlacement.usedFlags(position) else { return nil }
      let id: UInt16 = memory.load(at &+ 4)
      return (UInt32(id), flags & RingDescriptor.write == 0 ? 0 : memory.load(at), place.size)
    }
  }

  /// The driver has taken a chain back: it must have been the device's to return.
  mutating func take(_ id: UInt16, length: UInt32) {
    guard let i = chains.firstIndex(where: { $0.id == id && $0.isPublished }) else {
      Oracle.fail("id \(id) came back, which the device does not have")
    }
    Oracle.require(UInt64(length) <= chains[i].writable, "\(length) bytes are more than there is room for")
    position = place.advance(position, by: chains[i].descriptors)
    chains.remove(at: i)
    batch.count = max(batch.count - 1, 0)
  }
}
