import ArgumentParser

/// The noun `device`.
struct DeviceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "device",
    abstract: "Devices that can serve virtqueues.",
    subcommands: [DeviceScanCommand.self])
}
