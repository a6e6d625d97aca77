import ArgumentParser
import Datapath
import Foundation
import Logging
import SimulatorEngine
import VDPA
import VhostUser
import Virtio

/// Moves a running guest from software to a simulated device and back, over and over, with packets under way, and tells what
/// the guest has noticed of it.
///
///     live-switch --switches 200 --rings packed
///
/// The guest is this program too: a front-end without a VM that sends numbered packets and checks what comes back.
@main
struct LiveSwitch: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "live-switch", abstract: "Switches a running guest between software and a device.")

  @Option(help: "How often the guest is moved.")
  var switches = 200

  @Option(help: "The format of its rings: split or packed.")
  var rings = "split"

  @Option(help: "Packets that are under way at any time.")
  var window = 256

  @Option(help: "MiB of memory that the guest shares.")
  var memory = 64

  func validate() throws {
    guard ["split", "packed"].contains(rings) else { throw ValidationError("--rings is split or packed") }
    guard switches >= 1, (1...1024).contains(window), (8...65536).contains(memory) else {
      throw ValidationError("--switches is at least 1, --window 1 to 1024, --memory 8 to 65536")
    }
  }

  func run() throws {
    // The back-end: a socket that software serves, and a simulated device that it can be switched to.
    let software = try SoftwareEngine()
    let registry = Registry(software: software)
    try registry.register(SimulatorDriver())
    let engine = try registry.addEngine(
      driver: "simulator", at: EngineAddress("virtual", parameters: ["devices": "1", "ring-size": "1024"]))
    let simulator = DeviceHandle(engine: engine, device: 0)
    let folder = FileManager.default.temporaryDirectory.path + "/live-switch-\(getpid())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let threads = try SessionThreads()
    var logger = Logger(label: "live-switch")
    logger.logLevel = .warning
    let socket = VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: folder + "/vm0.sock"), parameters: ["port": "loopback"]),
      registry: registry, threads: threads, logger: logger)
    try socket.setCandidates([simulator])
    try socket.start()

    // The guest.
    let driver = Driver(path: folder + "/vm0.sock", isPacked: rings == "packed", window: window, mebibytes: memory)
    try driver.start()
    print("A guest with \(memory) MiB and \(rings) rings sends packets, \(window) at a time, to whoever serves it.")

    var blackouts: [Blackouts] = [Blackouts("software → simulator"), Blackouts("simulator → software")]
    for number in 0..<switches {
      let isForth = number % 2 == 0
      driver.beginGap()
      try socket.bind(isForth ? simulator : .software)
      blackouts[isForth ? 0 : 1].add(try driver.endGap())
      if (number + 1) % max(switches / 10, 1) == 0 {
        FileHandle.standardError.write(Data("\(number + 1) of \(switches) switches\n".utf8))
      }
    }
    let report = try driver.stop()

    print("\nFor how long no packet came, at a switch:")
    for direction in blackouts where !direction.isEmpty { print(direction.picture) }
    print("\(report.sent) packets were sent, and \(report.received) came back as they were.")
    for (name, count) in report.counters.dropFirst(2) { print("  \(name): \(count)") }

    socket.stop()
    threads.stop()
    try registry.removeEngine(engine)
    software.stop()
    guard report.isClean, report.sent == report.received else { throw ExitCode.failure }
  }
}
