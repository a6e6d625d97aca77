/// Named settings of an engine or of a device, as they come from a command line, a configuration file or a request:
/// `devices=4,queues=2`.
///
/// Whoever takes them reads each one by name and type and then rejects what it does not know, so that a misspelt name is
/// an error and never ignored.
public struct Parameters: Sendable, Hashable, CustomStringConvertible, ExpressibleByDictionaryLiteral {
  /// All settings by name.
  public private(set) var values: [String: String]

  /// The settings in a dictionary.
  public init(_ values: [String: String] = [:]) { self.values = values }

  /// The settings in a dictionary literal.
  public init(dictionaryLiteral elements: (String, String)...) {
    values = Dictionary(elements) { _, last in last }
  }

  /// Settings written as `key=value,key=value`. A key alone has the value `true`.
  ///
  /// - Throws: ``VDPAError`` `badParameter`, for an empty key or one that is named twice.
  public init(parsing text: String) throws(VDPAError) {
    values = [:]
    for item in text.split(separator: ",", omittingEmptySubsequences: true) {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let key = String(parts[0])
      guard !key.isEmpty else {
        throw VDPAError(.badParameter, "\"\(item)\" has no name before the equals sign; write name=value,name=value")
      }
      guard values[key] == nil else { throw VDPAError(.badParameter, "parameter \"\(key)\" is given twice") }
      values[key] = parts.count == 2 ? String(parts[1]) : "true"
    }
  }

  /// The setting of that name.
  public subscript(key: String) -> String? {
    get { values[key] }
    set { values[key] = newValue }
  }

  /// A whole number.
  ///
  /// - Parameters:
  ///   - key: The setting's name.
  ///   - range: What is accepted.
  /// - Returns: nil when it is not set.
  /// - Throws: ``VDPAError`` `badParameter`, when it is set to anything else.
  public func int(_ key: String, in range: ClosedRange<Int>) throws(VDPAError) -> Int? {
    guard let text = values[key] else { return nil }
    guard let value = Int(text), range.contains(value) else {
      throw VDPAError(
        .badParameter,
        "parameter \(key)=\(text) is not a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  /// Rejects the settings that are not in `known`.
  ///
  /// - Parameters:
  ///   - known: The names that are understood.
  ///   - taker: Who understands them, for the message.
  /// - Throws: ``VDPAError`` `badParameter`, naming the unknown and the known ones.
  public func allow(only known: [String], for taker: String) throws(VDPAError) {
    let unknown = values.keys.filter { !known.contains($0) }.sorted()
    guard unknown.isEmpty else {
      let list = known.isEmpty ? "none" : known.joined(separator: ", ")
      throw VDPAError(
        .badParameter, "\(taker) has no parameter \"\(unknown.joined(separator: "\", \""))\"; it has: \(list)")
    }
  }

  /// `devices=4,queues=2`, by ascending name.
  public var description: String {
    values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
  }
}
