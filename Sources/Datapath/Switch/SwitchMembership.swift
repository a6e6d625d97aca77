/// Who receives at a switch at a time: the open inboxes of each port. It never changes; a change makes another one.
final class SwitchMembership: Sendable {
  /// Those of one port behind those of another.
  let inboxes: [SwitchInbox]
  /// Where those of each port are, by its number; empty for one that does not receive, or is not there.
  let ranges: [Range<Int>]
  /// The ports that receive.
  let ports: [Int]

  init(_ open: [[SwitchInbox]] = Array(repeating: [], count: Switch.maxPorts)) {
    var inboxes: [SwitchInbox] = []
    var ranges: [Range<Int>] = []
    for own in open {
      ranges.append(inboxes.count..<inboxes.count + own.count)
      inboxes += own
    }
    self.inboxes = inboxes
    self.ranges = ranges
    ports = ranges.indices.filter { !ranges[$0].isEmpty }
  }
}
