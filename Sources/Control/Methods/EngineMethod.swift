/// What can be asked about engines.
package enum EngineMethod {
  private static let idRule = ParameterRule("id", .integer(Limits.numbers), "the engine's id")

  /// All engines.
  package struct List: ControlMethod {
    package typealias Answer = [EngineSummary]
    package static let name = "engine.list"
    package static let summary = "The engines by ascending id, the software engine (−1) first."

    package init() {}
  }

  /// One engine with its devices.
  package struct Show: ControlMethod {
    package typealias Answer = EngineDetail
    package static let name = "engine.show"
    package static let summary = "An engine, its parameters and its devices."
    package static let parameters = [idRule]

    package var id: Int

    package init(id: Int) { self.id = id }
  }

  /// Brings an engine up.
  package struct Add: ControlMethod {
    package typealias Answer = EngineSummary
    package static let name = "engine.add"
    package static let summary = "Starts an engine, which gets the lowest free id."
    package static let isChange = true
    package static let parameters = [
      ParameterRule("driver", .string(most: Limits.word), "the name of an engine driver"),
      ParameterRule("address", .string(most: Limits.word), "where the engine is, as its driver understands it"),
      ParameterRule(
        "parameters", .strings(most: Limits.parameters, bytes: Limits.word), isRequired: false,
        "settings that the driver understands"),
    ]

    package var driver: String
    package var address: String
    package var parameters: [String: String]?

    package init(driver: String, address: String, parameters: [String: String]? = nil) {
      (self.driver, self.address, self.parameters) = (driver, address, parameters)
    }
  }

  /// Takes an engine down.
  package struct Remove: ControlMethod {
    package typealias Answer = Nothing
    package static let name = "engine.remove"
    package static let summary = "Stops an engine that no socket is bound to."
    package static let isChange = true
    package static let parameters = [idRule]

    package var id: Int

    package init(id: Int) { self.id = id }
  }
}
