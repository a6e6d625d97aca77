/// A device by the numbers that people use: `0/1` is device 1 of engine 0, `-1/-1` software.
package struct DeviceNumbers: Codable, Hashable, Sendable, CustomStringConvertible {
  package var engine: Int
  package var device: Int

  package init(engine: Int, device: Int) { (self.engine, self.device) = (engine, device) }

  /// The numbers in `0/1`; nil for anything else.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 2, let engine = parts[0], let device = parts[1] else { return nil }
    self.init(engine: engine, device: device)
  }

  package var description: String { "\(engine)/\(device)" }

  /// The two as parameters.
  static let rules = rules(isRequired: true)

  static func rules(isRequired: Bool) -> [ParameterRule] {
    [
      ParameterRule(
        "engine", .integer(Limits.numbers), isRequired: isRequired, "the id of the device's engine; −1 is software"),
      ParameterRule(
        "device", .integer(Limits.numbers), isRequired: isRequired, "the device's number; −1 with software"),
    ]
  }
}
