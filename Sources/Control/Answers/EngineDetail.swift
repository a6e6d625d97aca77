/// An engine, its parameters and its devices.
package typealias EngineDetail = Joined<EngineSummary, EngineExtras>

/// What `engine.show` has beyond the list.
package struct EngineExtras: Codable, Sendable {
  package var parameters: [String: String]
  package var deviceList: [DeviceSummary]

  package init(parameters: [String: String], deviceList: [DeviceSummary]) {
    (self.parameters, self.deviceList) = (parameters, deviceList)
  }
}
