import ArgumentParser
import Control
import FoundationEssentials
import SystemPackage

extension SocketCommand {
  /// `socket add NAME --path P …`
  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a socket, bind it and start it.",
      discussion: """
        Software serves it unless --engine and --device name a device. A socket that is to be switched to another device \
        while its guest runs names that as a --candidate: front-ends are then offered what all of them have.
        """)

    @OptionGroup var global: GlobalOptions

    @Argument(help: "What the socket is to be called.")
    var name: String

    @Option(help: ArgumentHelp("Where the Unix socket is made, or with --client connected to.", valueName: "path"))
    var path: String

    @Option(
      help: ArgumentHelp(
        "The virtio device type (default net).", valueName: SocketMethod.Add.types.joined(separator: "|")))
    var type: String?

    @Flag(help: "The front-end listens on the socket: connect to it, and try again until it is there.")
    var client = false

    @Option(help: ArgumentHelp("How many queues, pairs of rings for net.", valueName: "count"))
    var queues: Int?

    @Option(
      help: ArgumentHelp(
        "What software does with packets: loopback, sink, source, source=LENGTH, echo, tap=NAME or switch=NAME; default "
          + "loopback.", valueName: "port"))
    var port: String?

    @Option(
      help: ArgumentHelp("The file or block device that a software block device is made of.", valueName: "path"))
    var blkFile: String?

    @OptionGroup var device: DeviceOptions

    @Option(
      parsing: .unconditionalSingleValue,
      help: ArgumentHelp(
        "A device that the socket may be switched to, as in 0/1; −1/−1 is software; once or more.", valueName: "e/d"))
    var candidate: [DeviceNumbers] = []

    @Option(
      help: ArgumentHelp(
        "Who takes over when the device fails (default off).",
        valueName: SocketMethod.Add.failovers.joined(separator: "|")))
    var failover: String?

    func run() throws {
      var request = SocketMethod.Add(name: name, path: Self.absolute(path))
      (request.type, request.queues, request.port) = (type, queues, port)
      request.client = client ? true : nil
      request.blkFile = blkFile.map(Self.absolute)
      (request.engine, request.device) = (device.engine, device.device)
      request.candidates = candidate.isEmpty ? nil : candidate
      request.failover = failover
      try global.ask(request) { _ in "" }
    }

    /// The daemon's folder is another one.
    private static func absolute(_ path: String) -> String {
      path.isEmpty ? path : FilePath(FileManager.default.currentDirectoryPath).pushing(FilePath(path)).string
    }
  }
}
