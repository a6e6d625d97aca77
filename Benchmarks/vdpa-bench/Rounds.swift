/// What was measured in every round, by what it was measured of.
struct Rounds<Subject: Hashable & Sendable & RawRepresentable<String>>: Sendable, ExpressibleByDictionaryLiteral {
  private var figures: [Subject: [Double]]

  init(dictionaryLiteral elements: (Subject, [Double])...) { figures = Dictionary(uniqueKeysWithValues: elements) }

  /// Those of one subject; none when it was not measured.
  subscript(_ subject: Subject) -> [Double] { figures[subject] ?? [] }

  mutating func add(_ figure: Double, of subject: Subject) { figures[subject, default: []].append(figure) }

  func median(_ subject: Subject) -> Double? { self[subject].median }

  /// A subject's figures to another's in each round, whose measurements stand next to each other in time.
  func ratios(_ subject: Subject, to other: Subject) -> [Double] {
    zip(self[subject], self[other]).filter { $1 > 0 }.map { $0 / $1 }
  }

  /// The median of those.
  func ratio(_ subject: Subject, to other: Subject) -> Double? { ratios(subject, to: other).median }

  /// All of them and their medians, as scripts get them.
  var byName: [String: [Double]] { Dictionary(uniqueKeysWithValues: figures.map { ($0.key.rawValue, $0.value) }) }
  var mediansByName: [String: Double] { byName.compactMapValues(\.median) }
}
