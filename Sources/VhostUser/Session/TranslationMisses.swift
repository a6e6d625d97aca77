import Virtio

/// What the rings of a session wait for, and when the front-end was asked for it: once, and again only if nothing came of
/// it for a while. A ring waits for few things at a time, so whatever a guest does, this stays small.
struct TranslationMisses {
  /// Rings that meet the same page wait for the same answer.
  private struct Key: Hashable {
    let page: UInt64
    let access: AddressMap.Access

    init(_ miss: AddressMap.Miss) {
      page = miss.address / 4096
      access = miss.access
    }
  }

  /// How long a front-end is given, in nanoseconds. One that has refused may find a translation later, and says nothing
  /// of it by itself.
  static let patience: UInt64 = 1_000_000_000

  private var wanted: [Int: [AddressMap.Miss]] = [:]
  private var asked: [Key: UInt64] = [:]

  /// Whether no ring waits.
  var isEmpty: Bool { wanted.isEmpty }

  /// Sets what a ring waits for; none for nothing.
  mutating func set(_ misses: [AddressMap.Miss], of ring: Int) { wanted[ring] = misses.isEmpty ? nil : misses }

  /// Forgets what is there by now.
  mutating func settle(in map: AddressMap) {
    for (ring, misses) in wanted {
      set(misses.filter { !map.hasRange(around: $0.address, length: 1, for: $0.access) }, of: ring)
    }
    forgetAnswered()
  }

  /// Forgets everything.
  mutating func removeAll() { self = TranslationMisses() }

  /// What to ask for now; it counts as asked.
  mutating func takeDue(at now: UInt64) -> [AddressMap.Miss] {
    forgetAnswered()
    var due: [AddressMap.Miss] = []
    for miss in wanted.sorted(by: { $0.key < $1.key }).flatMap(\.value) {
      if let last = asked[Key(miss)], now &- last < TranslationMisses.patience { continue }
      asked[Key(miss)] = now
      due.append(miss)
    }
    return due
  }

  private mutating func forgetAnswered() {
    let keys = Set(wanted.values.joined().map(Key.init))
    asked = asked.filter { keys.contains($0.key) }
  }
}
