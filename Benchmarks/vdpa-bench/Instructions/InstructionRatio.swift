/// Two counts of which one may be no more than so many times the other.
struct InstructionRatio: Sendable {
  let name: String
  let count: Double
  let base: Double
  let limit = 1.10

  var ratio: Double { count / base }
  var isMet: Bool { ratio <= limit }

  /// All that are looked at.
  ///
  /// - Parameter counts: By name and code.
  static func all(_ counts: [RingSide: [String: Double]]) -> [InstructionRatio] {
    let swift = counts[.swift] ?? [:]
    func ratio(_ name: String, _ case: String, to base: Double?) -> InstructionRatio? {
      guard let count = swift[`case`], let base else { return nil }
      return InstructionRatio(name: name, count: count, base: base)
    }
    var names: [String] = []
    for item in CountedCase.all where !names.contains(item.name) { names.append(item.name) }
    return names.compactMap { ratio("\($0), to C", $0, to: counts[.c]?[$0]) }
      + names.compactMap { name in
        for (many, one) in [(", 509 regions", "one region"), (", 64 pairs", "one pair")] where name.contains(many) {
          return ratio("\(name), to \(one)", name, to: swift[name.replacing(many, with: "")])
        }
        return nil
      }
  }
}
