extension [Double] {
  /// The value in the middle, or half way between the two that are; nil of nothing.
  var median: Double? {
    guard !isEmpty else { return nil }
    let sorted = sorted()
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2
  }
}
