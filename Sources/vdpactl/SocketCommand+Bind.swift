import ArgumentParser
import Control

extension SocketCommand {
  private static let switching = """
    While a guest runs this is the live switch: the device takes the rings over as they stand, and the guest does not \
    notice. What cannot work is refused before anything has stopped.
    """

  /// `socket bind NAME --engine E --device D`
  struct Bind: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Have a device serve a socket from now on.", discussion: switching)

    @OptionGroup var global: GlobalOptions

    @Argument(help: "The socket's name.")
    var name: String

    @OptionGroup var device: DeviceOptions

    func run() throws {
      try global.ask(SocketMethod.Bind(name: name, to: try device.required())) { _ in "" }
    }
  }

  /// `socket unbind NAME`
  struct Unbind: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Have software serve a socket from now on.", discussion: switching)

    @OptionGroup var global: GlobalOptions

    @Argument(help: "The socket's name.")
    var name: String

    func run() throws { try global.ask(SocketMethod.Unbind(name: name)) { _ in "" } }
  }

  /// `socket rebind NAME (--engine E --device D | --software)`
  struct Rebind: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The same as bind, or with --software as unbind.", discussion: switching)

    @OptionGroup var global: GlobalOptions

    @Argument(help: "The socket's name.")
    var name: String

    @OptionGroup var device: DeviceOptions

    @Flag(help: "Have software serve it.")
    var software = false

    func run() throws {
      guard software else {
        return try global.ask(SocketMethod.Bind(name: name, to: try device.required())) { _ in "" }
      }
      guard device.numbers == nil else { throw ValidationError("give one of --software and --engine with --device") }
      try global.ask(SocketMethod.Unbind(name: name)) { _ in "" }
    }
  }
}
