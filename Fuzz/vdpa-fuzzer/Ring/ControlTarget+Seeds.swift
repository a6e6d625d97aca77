extension ControlTarget {
  /// A descriptor that is in order, with a length that has to be found.
  static var seeds: [FuzzInput] {
    var input = FuzzInput()
    input.records = [
      Record(kind: DriverWrites.Kind.descriptor.rawValue, d: Record.length(64), e: FuzzMemory.code(anchor: 0, 0))
    ]
    return [input]
  }
}
