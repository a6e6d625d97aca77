import Datapath
import SimulatorEngine
import VDPA
import VhostUser

/// A back-end with two sockets: one bound to a device of an engine, one left to the software datapath.
///
/// All that an application does with the framework is in this file.
struct Daemon {
  private let software: SoftwareEngine
  private let registry: Registry
  private let simulator: EngineHandle
  private let threads: SessionThreads
  private let sockets: [VhostUserSocket]
  private let simulation = Simulation()

  /// Brings everything up; from here on front-ends can connect.
  init(directory: String) throws {
    // The software datapath is an engine like the others; it has the id −1 and is always there.
    software = try SoftwareEngine()
    registry = Registry(software: software)

    // Other engines are added by the name of a registered driver and an address. The first one gets the id 0.
    try registry.register(SimulatorDriver(started: simulation.add))
    simulator = try registry.addEngine(driver: "simulator", at: EngineAddress("virtual"))

    // A socket that is bound is served by that device …
    threads = try SessionThreads()
    let bound = VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: DemoSocket.bound.path(in: directory))),
      registry: registry, threads: threads)
    try bound.bind(DeviceHandle(engine: simulator, device: 0))

    // … and one that is not has the binding (−1, −1): software serves it. What that does with packets is a parameter.
    let unbound = VhostUserSocket(
      SocketConfiguration(
        endpoint: .listen(path: DemoSocket.unbound.path(in: directory)), parameters: ["port": "loopback"]),
      registry: registry, threads: threads)

    sockets = [bound, unbound]
    for socket in sockets {
      Daemon.printEvents(of: socket)
      try socket.start()
    }
  }

  /// Prints what happens on a socket: front-ends that come and go, features, vrings, memory.
  private static func printEvents(of socket: VhostUserSocket) {
    let (name, events) = (socket.configuration.name, socket.eventStream)
    Task {
      for await event in events { Console.print("\(name): \(event)") }
    }
  }

  /// Answers commands on standard input until there are no more.
  func run() throws {
    while let command = readLine(), command != "quit" {
      switch command {
      case "status": Console.print(try status.line())
      default: Console.print("unknown command \"\(command)\"; there are: status, quit")
      }
    }
  }

  /// Takes everything down again, in the opposite order.
  func stop() throws {
    for socket in sockets { socket.stop() }
    threads.stop()
    try registry.removeEngine(simulator)
    software.stop()
  }

  /// How the sockets stand and what each engine has counted.
  private var status: DaemonStatus {
    DaemonStatus(
      sockets: sockets.map { DaemonStatus.Socket($0.status, vrings: $0.statistics) },
      engines: registry.engines.map { engine in
        // The simulator tells what its hardware did, whichever socket it was for. Software counts for each socket.
        let vrings =
          engine.handle == .software
          ? sockets.filter { $0.binding == .software }.flatMap(\.statistics) : simulation.statistics
        return DaemonStatus.Engine(id: engine.handle.id, driver: engine.driver, traffic: PacketCount(vrings))
      })
  }
}
