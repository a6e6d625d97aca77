/// Finds the name that somebody meant who has mistyped it.
enum ClosestName {
  /// How many letters may be wrong, missing or too many: about one in three.
  private static func tolerance(_ name: String) -> Int { max(1, name.utf8.count / 3) }

  /// The most similar of `names`; nil when none is similar.
  static func of(_ name: String, in names: [String]) -> String? {
    let found = names.sorted().map { ($0, distance(name, $0)) }.min { $0.1 < $1.1 }
    return found.flatMap { $0.1 <= tolerance(name) ? $0.0 : nil }
  }

  /// How many letters have to be changed, added or removed to make one of the other.
  static func distance(_ one: String, _ other: String) -> Int {
    let (one, other) = (Array(one.utf8), Array(other.utf8))
    var row = Array(0...other.count)
    for (i, letter) in one.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, wanted) in other.enumerated() {
        let changed = diagonal + (letter == wanted ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(changed, row[j] + 1, diagonal + 1)
      }
    }
    return row[other.count]
  }
}
