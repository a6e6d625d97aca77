/// The answer of a method that has nothing to tell: an empty object.
package struct Nothing: Codable, Sendable {
  package init() {}
}
