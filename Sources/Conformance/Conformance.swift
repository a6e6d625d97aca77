/// The rules that every device keeps, whatever engine it is of.
public enum Conformance {
  /// All of them, in the order of a device's life.
  public static let rules: [ConformanceRule] =
    attributes + configuration + lifecycle + notifications + vringStates + memory + silence + handover + migration
    + statistics

  /// The rule of that name; nil when there is none.
  public static func rule(_ id: String) -> ConformanceRule? { rules.first { $0.id == id } }
}
