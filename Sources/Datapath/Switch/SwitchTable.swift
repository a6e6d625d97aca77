internal import Virtio

/// Which port of a switch a station is at, by its Ethernet address: learned from what it sends, forgotten when it has been
/// silent.
///
/// An address has sixteen places, which a secret number decides, so that nobody can choose addresses that meet; looking one
/// up is bounded. There are twice as many places as all ports together may have addresses (``quota`` each): however many a
/// port makes up, it pushes none of another port's out.
@safe struct SwitchTable: ~Copyable, Sendable {
  /// The most addresses that a port has.
  static let quota = 256
  private static let window = 16
  private static let places = 2 * Switch.maxPorts * quota

  /// What has come of an address.
  enum Learned {
    case known, new, moved
    /// The port has as many as it may have, or no place is left for this one.
    case refused
  }

  private struct Entry {
    /// The six bytes in memory order; 0 for no entry.
    var address: UInt64 = 0
    /// When it was seen last, in seconds.
    var seen: UInt32 = 0
    var port: UInt16 = 0
  }

  // Made and freed with this value, which cannot be copied; `places` entries.
  nonisolated(unsafe) private let entries: UnsafeMutablePointer<Entry>
  /// How many addresses each port has. Not an `Array`, which is asked before each change whether somebody else has it too.
  private var counts = InlineArray<128, Int>(repeating: 0)
  /// How long an address is remembered, in seconds.
  private let ageing: UInt32
  private let secret = (UInt64.random(in: 0 ... .max), UInt64.random(in: 0 ... .max) | 1)
  private var swept = 0

  init(ageing: UInt32) {
    self.ageing = ageing
    precondition(counts.count == Switch.maxPorts)
    unsafe entries = .allocate(capacity: SwitchTable.places)
    unsafe entries.initialize(repeating: Entry(), count: SwitchTable.places)
  }

  deinit { unsafe entries.deallocate() }

  /// How many addresses a port has, those that are due to be forgotten included.
  func count(of port: Int) -> Int { counts[port] }

  @inline(__always) private func place(_ address: UInt64) -> Int {
    var hash = (address ^ secret.0) &* secret.1
    hash ^= hash >> 32
    hash = hash &* 0x9e37_79b9_7f4a_7c15
    // The window wraps nowhere: the last places belong to the same hash.
    return Int(truncatingIfNeeded: hash >> 33) % (SwitchTable.places - SwitchTable.window)
  }

  @inline(__always) private func isFresh(_ entry: Entry, _ now: UInt32) -> Bool { now &- entry.seen <= ageing }

  /// The port of an address; nil if it is not known.
  @inline(__always) func find(_ address: UInt64, now: UInt32) -> Int? {
    let first = place(address)
    for i in first..<first &+ SwitchTable.window {
      let entry = unsafe entries[i]
      if entry.address == address { return isFresh(entry, now) ? Int(entry.port) : nil }
    }
    return nil
  }

  /// Takes note of where an address is.
  mutating func learn(_ address: UInt64, at port: Int, now: UInt32) -> Learned {
    let first = place(address)
    var free: Int?
    for i in first..<first &+ SwitchTable.window {
      let entry = unsafe entries[i]
      if entry.address == address { return refresh(i, port, now) }
      if free == nil && (entry.address == 0 || !isFresh(entry, now)) { free = i }
    }
    guard let free, counts[port] < SwitchTable.quota else { return .refused }
    forget(at: free)
    counts[port] += 1
    unsafe entries[free] = Entry(address: address, seen: now, port: UInt16(port))
    return .new
  }

  private mutating func refresh(_ place: Int, _ port: Int, _ now: UInt32) -> Learned {
    let entry = unsafe entries[place]
    let wasFresh = isFresh(entry, now)
    guard Int(entry.port) != port else {
      if entry.seen != now { unsafe entries[place].seen = now }
      return wasFresh ? .known : .new
    }
    guard counts[port] < SwitchTable.quota else { return .refused }
    counts[Int(entry.port)] -= 1
    counts[port] += 1
    unsafe entries[place] = Entry(address: entry.address, seen: now, port: UInt16(port))
    return wasFresh ? .moved : .new
  }

  private mutating func forget(at place: Int) {
    let entry = unsafe entries[place]
    guard entry.address != 0 else { return }
    counts[Int(entry.port)] -= 1
    unsafe entries[place] = Entry()
  }

  /// Forgets all addresses of a port.
  mutating func forget(port: Int) {
    guard counts[port] > 0 else { return }
    for i in 0..<SwitchTable.places where unsafe Int(entries[i].port) == port { forget(at: i) }
  }

  /// Forgets what has not been seen for too long in a sixteenth of the table; once a second.
  mutating func sweep(now: UInt32) {
    let end = min(swept + SwitchTable.places / 16, SwitchTable.places)
    for i in swept..<end where unsafe !isFresh(entries[i], now) { forget(at: i) }
    swept = end == SwitchTable.places ? 0 : end
  }
}
