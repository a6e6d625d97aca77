import FoundationEssentials

extension Encodable {
  /// The value as JSON for people and scripts: indented, its keys in alphabetical order.
  package func prettyJSON() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }

  /// The value as JSON in one line, without its end: what goes over a control socket.
  package func lineJSON() throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(self))
  }
}

extension Decodable {
  /// The value that `bytes` are the JSON of.
  ///
  /// - Throws: `DecodingError`.
  package init(json bytes: [UInt8]) throws {
    self = try JSONDecoder().decode(Self.self, from: Data(bytes))
  }
}
