/// What a parameter of a method may be.
package struct ParameterRule: Sendable {
  /// The kinds of values.
  package indirect enum Kind: Sendable {
    /// Up to that many bytes of UTF-8, and at least one.
    case string(most: Int)
    case integer(ClosedRange<Int>)
    case boolean
    case choice([String])
    /// An object with any keys, whose values are strings.
    case strings(most: Int, bytes: Int)
    case list(of: Kind, most: Int)
    case object([ParameterRule])
  }

  package let name: String
  package let kind: Kind
  package let isRequired: Bool
  /// What it is for, in a few words.
  package let meaning: String

  package init(_ name: String, _ kind: Kind, isRequired: Bool = true, _ meaning: String) {
    (self.name, self.kind, self.isRequired, self.meaning) = (name, kind, isRequired, meaning)
  }

  /// The parameters of a request, checked.
  ///
  /// - Parameters:
  ///   - params: What the request has; nil when it has none.
  ///   - rules: What its method takes.
  /// - Throws: `invalidParams`, naming the parameter that is missing, unknown, of another type or out of range.
  package static func check(_ params: JSONValue?, _ rules: [ParameterRule]) throws(RPCError) -> JSONValue {
    let params = params ?? .object([:])
    guard case .object = params else {
      throw .invalidParams(nil, "params is \(params.kind); parameters go by name, in an object")
    }
    try Kind.object(rules).check(params, "")
    return params
  }
}

extension ParameterRule.Kind {
  /// What it is, in words.
  package var description: String {
    switch self {
    case .string(let most): "string of 1 to \(most) bytes"
    case .integer(let range): "whole number from \(range.lowerBound) to \(range.upperBound)"
    case .boolean: "true or false"
    case .choice(let choices): choices.map { "\"\($0)\"" }.joined(separator: " or ")
    case .strings(let most, let bytes): "object of at most \(most) strings, each of at most \(bytes) bytes"
    case .list(let element, let most): "array of at most \(most), each \(element.description)"
    case .object(let rules):
      "object of " + rules.map { "\($0.name): \($0.kind.description)" }.joined(separator: "; ")
    }
  }

  /// Throws unless `value` is one, naming it by `path`.
  fileprivate func check(_ value: JSONValue, _ path: String) throws(RPCError) {
    var isRight: Bool
    switch (self, value) {
    case (.string(let most), .text(let text)): isRight = !text.isEmpty && text.utf8.count <= most
    case (.integer(let range), .integer(let number)): isRight = Int(exactly: number).map(range.contains) ?? false
    case (.boolean, .bool): isRight = true
    case (.choice(let choices), .text(let text)): isRight = choices.contains(text)
    case (.strings(let most, let bytes), .object(let members)):
      isRight = members.count <= most
      for (key, member) in members.sorted(by: { $0.key < $1.key }) where isRight {
        guard case .text(let text) = member, !key.isEmpty, key.utf8.count <= bytes, text.utf8.count <= bytes else {
          throw .invalidParams(
            "\(path).\(Self.shown(key))",
            "parameter \(path).\(Self.shown(key)) is not a string of at most \(bytes) bytes with a name as short")
        }
      }
    case (.list(let element, let most), .array(let values)):
      isRight = values.count <= most
      guard isRight else { break }
      for (i, value) in values.enumerated() { try element.check(value, "\(path)[\(i)]") }
    case (.object(let rules), .object(let members)):
      isRight = true
      try Self.check(members, rules, path)
    default:
      throw .invalidParams(path, "parameter \(path) is \(value.kind), and has to be: \(description)")
    }
    guard isRight else { throw .invalidParams(path, "parameter \(path) has to be: \(description)") }
  }

  private static func check(
    _ members: [String: JSONValue], _ rules: [ParameterRule], _ path: String
  ) throws(RPCError) {
    func full(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
    for name in members.keys.sorted() where !rules.contains(where: { $0.name == name }) {
      let known = rules.isEmpty ? "none" : rules.map(\.name).joined(separator: ", ")
      throw .invalidParams(full(shown(name)), "there is no parameter \(full(shown(name))); there is: \(known)")
    }
    for rule in rules {
      if let value = members[rule.name] {
        try rule.kind.check(value, full(rule.name))
      } else if rule.isRequired {
        throw .invalidParams(
          full(rule.name), "parameter \(full(rule.name)) is missing; it is: \(rule.kind.description), \(rule.meaning)")
      }
    }
  }

  /// A name that came from outside, as much as is needed to find it.
  private static func shown(_ name: String) -> String {
    name.utf8.count <= 64 ? name : String(name.prefix(32)) + "…"
  }
}
