import ArgumentParser
import Datapath
import Logging
import SystemPackage
import VDPA
import VhostUser
import Virtio

/// `vdpad serve`: a socket or several, in the foreground (vhost-user, Backend program conventions).
struct Serve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Serve vhost-user sockets in the foreground.",
    discussion: """
      --socket-path can be given several times: each socket gets a device of its own, alike but for the socket, and those \
      with --port switch=NAME reach each other. \
      Without --engine the software datapath serves them. Ends on SIGTERM or SIGINT and removes the socket it made; \
      with --fd of a connected socket it ends when the front-end goes. With --client it connects to a front-end that \
      listens, and again whenever that has gone.
      """)

  @Option(help: ArgumentHelp("The virtio device type (default net).", valueName: "net|block"))
  var type = "net"

  @Option(
    help: ArgumentHelp("Listen on a Unix socket here, or with --client connect to it; once or more.", valueName: "path")
  )
  var socketPath: [String] = []

  @Flag(help: "The front-end listens on the socket: connect to it, and try again until it is there.")
  var client = false

  @Option(help: ArgumentHelp("Use an inherited socket, listening or connected.", valueName: "number"))
  var fd: Int32?

  @Option(help: ArgumentHelp("Give the socket file to this user and group.", valueName: "user[:group]"))
  var socketOwner: String?

  @Option(help: ArgumentHelp("Permission bits of the socket file.", valueName: "octal"))
  var socketMode: String?

  @Option(help: ArgumentHelp("Serve by a device of an engine of this driver.", valueName: "driver[:key=value,…]"))
  var engine: String?

  @Option(help: ArgumentHelp("Which device of the engine (default 0).", valueName: "number"))
  var device: Int?

  @Option(
    help: ArgumentHelp(
      "What software does with packets: loopback, sink, source, source=LENGTH, echo, tap=NAME (a TAP device of this "
        + "host) or switch=NAME (the other sockets that name it); default loopback.",
      valueName: "port"))
  var port: String?

  @Option(
    help: ArgumentHelp("The file or block device that a block device is made of; it is locked.", valueName: "path"))
  var blkFile: String?

  @Flag(help: "The block device cannot be written to.")
  var readOnly = false

  @Flag(help: "Another vdpad may have the file open for writing too: the other end of a migration on this machine.")
  var blkShared = false

  @Option(help: ArgumentHelp("The block device's name for its guest, up to 20 characters.", valueName: "name"))
  var serial: String?

  @Option(
    help: ArgumentHelp(
      "How the file is read and written (default uring where there is io_uring, else threads).",
      valueName: "uring|threads"))
  var blkIo: String?

  @Flag(help: "Offer checksum and segmentation offloads to the guest's network driver.")
  var offloads = false

  @Option(help: ArgumentHelp("How many queues, pairs of rings for net (default 1).", valueName: "count"))
  var queues: Int?

  @Flag(help: "Workers look for packets all the time: lowest latency, all of a CPU.")
  var poll = false

  @Flag(
    help:
      "Workers look for packets while there are any, and 50 µs longer, then sleep until a guest kicks: no CPU while idle."
  )
  var adaptive = false

  @Flag(help: "Workers sleep until a guest kicks: no CPU while idle (default).")
  var event = false

  @Option(help: ArgumentHelp("Pin one worker to each of these CPUs, as in 0,2-3.", valueName: "list"))
  var cpu: String?

  @Option(
    help: ArgumentHelp("Print the counters of vrings and workers to standard output this often.", valueName: "seconds"))
  var stats: Int?

  @Option(help: ArgumentHelp("trace, debug, info, notice, warning or error.", valueName: "level"))
  var logLevel = "info"

  /// Served before options are parsed: see ``Capabilities``.
  @Flag(help: "Print what this program can do as JSON, and end; other options are ignored, but for --type.")
  var printCapabilities = false

  func run() throws {
    try Service(ServeSettings(self)).run()
  }
}
