/// Something did not happen that had to.
package struct FrontEndError: Error, CustomStringConvertible {
  package let description: String
}

/// The value, or an error that says what is missing.
func require<Value>(_ value: Value?, _ missing: @autoclosure () -> String) throws -> Value {
  guard let value else { throw FrontEndError(description: missing()) }
  return value
}

/// Throws unless the condition holds.
func require(_ condition: Bool, _ missing: @autoclosure () -> String) throws {
  guard condition else { throw FrontEndError(description: missing()) }
}
