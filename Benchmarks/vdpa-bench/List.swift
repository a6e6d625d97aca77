import ArgumentParser

/// The values of an option that takes several, with commas between them.
func list<Value>(_ text: String, _ parse: (String) -> Value?) throws -> [Value] {
  try text.split(separator: ",", omittingEmptySubsequences: false).map {
    guard let value = parse(String($0)) else { throw ValidationError("\"\($0)\" is not one of the values") }
    return value
  }
}

/// The value of an option that is on or off.
func onOrOff(_ text: String) -> Bool? { ["on": true, "off": false][text] }
