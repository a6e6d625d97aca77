import ArgumentParser
import Control

/// The noun `device`.
struct DeviceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "device",
    abstract: "Devices that can serve virtqueues.",
    subcommands: [List.self, Show.self, DeviceScanCommand.self])

  /// `device list`
  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List the devices of the daemon's engines, and the socket that each serves.")

    @OptionGroup var global: GlobalOptions

    func run() throws { try global.ask(DeviceMethod.List()) { DeviceCommand.table($0) } }
  }

  /// `device show E/D`
  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show a device of an engine and what it offers.")

    @OptionGroup var global: GlobalOptions

    @Argument(help: ArgumentHelp("The engine's id and the device's number, as in 0/1.", valueName: "e/d"))
    var device: DeviceNumbers

    func run() throws {
      try global.ask(DeviceMethod.Show(device)) { device in
        Table.fields([
          ("device", "\(device.summary.numbers)"), ("driver", device.driver), ("address", device.address),
          ("socket", device.socket), ("type", device.type), ("queues", "\(device.queues)"),
          ("ring size", "\(device.ringSize)"), ("features", device.features),
          ("protocol features", device.protocolFeatures), ("starts anywhere", device.startsAnywhere ? "yes" : "no"),
          ("completes in order", device.completesInOrder ? "yes" : "no"),
        ])
      }
    }
  }

  static func table(_ devices: [DeviceSummary]) -> String {
    var table = Table(["DEVICE", "DRIVER", "ADDRESS", "SOCKET"])
    for device in devices { table.add(["\(device.numbers)", device.driver, device.address, device.socket]) }
    return table.text
  }
}
