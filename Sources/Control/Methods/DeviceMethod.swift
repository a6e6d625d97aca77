/// What can be asked about devices of engines.
package enum DeviceMethod {
  /// All devices.
  package struct List: ControlMethod {
    package typealias Answer = [DeviceSummary]
    package static let name = "device.list"
    package static let summary =
      "The devices of all engines, and who has them. Software makes a device for each socket."

    package init() {}
  }

  /// One device.
  package struct Show: ControlMethod {
    package typealias Answer = DeviceDetail
    package static let name = "device.show"
    package static let summary = "A device and what it offers. One that nobody has is claimed for a moment."
    /// It takes its turn with what changes something, so that no change finds the device claimed.
    package static let isChange = true
    package static let parameters = DeviceNumbers.rules

    package var engine: Int
    package var device: Int

    package init(_ numbers: DeviceNumbers) { (engine, device) = (numbers.engine, numbers.device) }
  }
}
