/// One of the things that can be fuzzed.
protocol FuzzTarget {
  /// Works through one input; ends the process if something does not hold.
  func run(_ input: FuzzInput)
}
