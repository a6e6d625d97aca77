/// The counters of a vring. They begin at 0 when another device takes it over.
package struct VringCounters: Codable, Sendable {
  package var index: Int
  /// `rx0`, `tx0` for the rings of a queue pair, by what the guest does on them; `vq0` for others.
  package var name: String
  /// All counters by name, lengths in bytes.
  package var counters: [String: UInt64]

  package init(index: Int, name: String, counters: [String: UInt64]) {
    (self.index, self.name, self.counters) = (index, name, counters)
  }
}
