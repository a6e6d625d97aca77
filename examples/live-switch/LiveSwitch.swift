import ArgumentParser
import Foundation
import VDPA
import VhostUser
import Virtio

/// Moves a running guest from software to a simulated device and back, over and over, with packets or blocks under way, or
/// has that device vanish, and tells what the guest has noticed of it.
///
///     live-switch --switches 200 --rings packed --latency 200 --order out
///     live-switch --device block
///     live-switch --failures 20
///
/// The guest is this program too: a front-end without a VM that sends numbered packets and checks what comes back.
@main
struct LiveSwitch: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "live-switch",
    abstract: "Switches a running guest between software and a device, or has the device fail.")

  @Option(help: "How often the guest is moved.")
  var switches = 200

  @Option(help: "How often the device vanishes in the middle of its work instead, so that software takes over.")
  var failures = 0

  @Option(help: "What the guest has: net or block.")
  var device = "net"

  @Option(help: "The format of its rings: split or packed.")
  var rings = "split"

  @Option(help: "Packets or blocks that are under way at any time.")
  var window: Int?

  @Option(help: "MiB of memory that the guest shares.")
  var memory = 64

  @Option(help: "Microseconds that the device takes for each packet or request.")
  var latency = 0

  @Option(help: "Whether the device returns buffers in order (in) or in any (out).")
  var order = "in"

  func validate() throws {
    guard ["split", "packed"].contains(rings) else { throw ValidationError("--rings is split or packed") }
    guard ["net", "block"].contains(device) else { throw ValidationError("--device is net or block") }
    guard ["in", "out"].contains(order) else { throw ValidationError("--order is in or out") }
    guard switches >= 1, (1...1024).contains(window ?? 1), (8...65536).contains(memory), failures >= 0 else {
      throw ValidationError("--switches is at least 1, --window 1 to 1024, --memory 8 to 65536")
    }
    guard device == "net" || window ?? 1 <= 64 else { throw ValidationError("--window of blocks is at most 64") }
    guard failures == 0 || rings == "split" && order == "in" else {
      throw ValidationError(
        "where a device stands that has vanished can be seen in split rings only, if it returns buffers in order")
    }
  }

  func run() throws {
    let isBlock = device == "block"
    let folder = FileManager.default.temporaryDirectory.path + "/live-switch-\(getpid())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let back = try BackEnd(
      isBlock: isBlock, folder: folder, latency: latency, order: order, failsOver: failures > 0)
    let window = window ?? (isBlock ? 64 : 256)
    let driver = Driver(
      path: back.path, isBlock: isBlock, isPacked: rings == "packed", window: window, mebibytes: memory)
    try driver.start()
    let what = isBlock ? "writes blocks and reads them" : "sends packets"
    print("A guest with \(memory) MiB and \(rings) rings \(what), \(window) at a time; whoever serves it, it goes on.")

    let blackouts = failures > 0 ? try fail(driver, back) : try move(driver, back)
    let report = try driver.stop()
    back.stop()
    print("\nFor how long nothing came:")
    for direction in blackouts where !direction.isEmpty { print(direction.picture) }
    print("\(report.sent) \(isBlock ? "blocks" : "packets") were sent, and \(report.received) came back as they were.")
    for (name, count) in report.counters { print("  \(name): \(count)") }
    guard report.isWhole, report.duplicated == 0 || failures > 0 else { throw ExitCode.failure }
  }

  private func move(_ driver: Driver, _ back: BackEnd) throws -> [Blackouts] {
    var blackouts: [Blackouts] = [Blackouts("software → simulator"), Blackouts("simulator → software")]
    for number in 0..<switches {
      let isForth = number % 2 == 0
      driver.beginGap()
      try back.socket.bind(isForth ? back.simulator : .software)
      blackouts[isForth ? 0 : 1].add(try driver.endGap())
      tell(number + 1, of: switches, "switches")
    }
    return blackouts
  }

  private func fail(_ driver: Driver, _ back: BackEnd) throws -> [Blackouts] {
    var blackouts = Blackouts("the simulator vanishes → software")
    for number in 0..<failures {
      try back.socket.bind(back.simulator)
      driver.beginGap()
      try back.vanish()
      while back.socket.status.failovers == number { usleep(100) }
      blackouts.add(try driver.endGap())
      try back.heal()
      tell(number + 1, of: failures, "failures")
    }
    print(
      "Software took over \(back.socket.status.failovers) times, last because \(back.socket.status.failoverReason ?? "")."
    )
    return [blackouts]
  }

  private func tell(_ number: Int, of count: Int, _ what: String) {
    guard number % max(count / 10, 1) == 0 else { return }
    FileHandle.standardError.write(Data("\(number) of \(count) \(what)\n".utf8))
  }
}
