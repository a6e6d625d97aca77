import ArgumentParser
import Datapath
import Glibc
import SimulatorEngine
import VDPA
import Virtio

/// Drives devices from this process, without a guest and without a socket: what a self-test, a benchmark or a bring-up of new
/// hardware begins with.
///
///     virtio-driver --packets 1000 --rings packed
///
/// The bus driver `virtio` claims a software device and a simulated one, sends numbered packets through each and checks what
/// comes back; then it hands the rings of one over to the other.
@main
struct VirtioDriverExample: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "virtio-driver", abstract: "Drives devices of any engine from this process.")

  @Option(help: "Packets through each device.")
  var packets: UInt64 = 1000

  @Option(help: "The format of the rings: split or packed.")
  var rings = "split"

  func validate() throws {
    guard ["split", "packed"].contains(rings), packets >= 1 else {
      throw ValidationError("--rings is split or packed, --packets at least 1")
    }
  }

  func run() throws {
    // The bus: a simulator puts two devices there, of which one is kept for this bus driver. Software makes devices as asked for.
    let software = try SoftwareEngine()
    let registry = Registry(software: software)
    try registry.register(SimulatorDriver())
    registry.matchRules = [MatchRule(engineDriver: "simulator", device: 0, busDriver: .virtio)]
    let engine = try registry.addEngine(driver: "simulator", at: EngineAddress("virtual", parameters: ["devices": "2"]))
    let driver = VirtioDriver(registry, owner: "virtio-driver")
    let devices = [
      try driver.claim(.software, type: .net, queues: 1, parameters: ["port": "loopback"]),
      try driver.claim(DeviceHandle(engine: engine, device: 0), type: .net, queues: 1),
    ]
    print("The bus:")
    for device in registry.devices { print("  \(device)") }

    var features: Features = [.version1, .netMergeableBuffers, .indirectDescriptors, .eventIndex]
    if rings == "packed" { features.insert(.packedRing) }
    print("\n\(packets) packets through each device, over \(rings) rings:\n")
    print(row(["device", "sent", "received", "lost", "wrong", "median", "transmit ring stands at"]))
    var isClean = true
    for device in devices {
      try device.negotiate(features)
      let traffic = try makeTraffic(for: device)
      try device.start(traffic.guest)
      try traffic.run(packets)
      let states = try device.stop()
      isClean = show(traffic.reports[0], of: "\(device.context.handle)", states) && isClean
    }

    // The same guest, served by the one and then by the other, without a stop in between.
    let traffic = try makeTraffic(for: devices[0])
    try devices[0].start(traffic.guest)
    try traffic.run(packets / 2)
    traffic.want(packets - packets / 2)
    try traffic.step()
    try devices[0].handOver(to: devices[1])
    try traffic.run()
    let states = try devices[1].stop()
    isClean = show(traffic.reports[0], of: "handed over", states) && isClean

    for device in devices { device.release() }
    try registry.removeEngine(engine)
    software.stop()
    guard isClean else { throw ExitCode.failure }
  }

  /// A guest with one queue pair, and packets for it.
  private func makeTraffic(for device: DrivenDevice) throws -> LoopbackTraffic {
    let guest = try device.makeGuest(
      vringCount: 2, ringSize: 256, bufferBytes: LoopbackTraffic.bufferBytes(ringSize: 256, pairs: 1))
    return try LoopbackTraffic(guest)
  }

  private func show(_ report: TrafficReport, of name: String, _ states: [VringState]) -> Bool {
    let wrong = report.duplicated + report.reordered + report.corrupted + report.misdirected
    let median = "\(report.latency.percentile(0.5) / 1000) µs"
    let position = states.first { $0.index == 1 }.map { "0x" + String($0.nextAvail, radix: 16) } ?? "-"
    print(row([name, "\(report.sent)", "\(report.received)", "\(report.lost)", "\(wrong)", median, position]))
    return report.isClean && report.received == packets
  }

  private func row(_ cells: [String]) -> String {
    let widths = [-17, 8, 9, 6, 6, 9, 24]
    return zip(cells, widths).map { cell, width in
      let pad = String(repeating: " ", count: max(abs(width) - cell.count, 0))
      return width < 0 ? cell + pad : pad + cell
    }.joined()
  }
}
