import ArgumentParser
import Control

extension DeviceNumbers: ExpressibleByArgument {
  /// `0/1`
  init?(argument: String) { self.init(argument) }
}

/// `--engine E --device D`, both or neither.
struct DeviceOptions: ParsableArguments {
  @Option(
    parsing: .unconditional, help: ArgumentHelp("The id of the device's engine; −1 is software.", valueName: "id"))
  var engine: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The device's number within the engine; −1 with software.", valueName: "number"))
  var device: Int?

  /// nil when neither is given.
  var numbers: DeviceNumbers? {
    guard let engine, let device else { return nil }
    return DeviceNumbers(engine: engine, device: device)
  }

  func validate() throws {
    guard (engine == nil) == (device == nil) else {
      throw ValidationError("--engine and --device go together")
    }
  }

  /// The numbers, where they have to be given.
  func required() throws -> DeviceNumbers {
    guard let numbers else { throw ValidationError("which device? --engine and --device say so") }
    return numbers
  }
}
