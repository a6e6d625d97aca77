/// Two answers whose members stand in one object: a line of a list, and what `show` has beyond it.
@dynamicMemberLookup
package struct Joined<Summary: Codable & Sendable, More: Codable & Sendable>: Codable, Sendable {
  package var summary: Summary
  package var more: More

  package init(_ summary: Summary, _ more: More) {
    (self.summary, self.more) = (summary, more)
  }

  package init(from decoder: any Decoder) throws {
    (summary, more) = (try Summary(from: decoder), try More(from: decoder))
  }

  package func encode(to encoder: any Encoder) throws {
    try summary.encode(to: encoder)
    try more.encode(to: encoder)
  }

  package subscript<Value>(dynamicMember path: KeyPath<Summary, Value>) -> Value { summary[keyPath: path] }
  package subscript<Value>(dynamicMember path: KeyPath<More, Value>) -> Value { more[keyPath: path] }
}
