import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A guest of frames behind a TAP device in a network namespace, served by a worker.
final class TapStation {
  final class Observer: DeviceObserver {
    let reports = Mutex<[DeviceReport]>([])
    func deviceReports(_ report: DeviceReport) { reports.withLock { $0.append(report) } }
  }

  let engine: SoftwareEngine
  let guest: FrameGuest
  let device: any Device
  let observer = Observer()

  static let mac: [UInt8] = [2, 0, 0, 0, 0, 9]
  static let address: [UInt8] = [10, 9, 0, 2]
  static let host: [UInt8] = [10, 9, 0, 1]

  init(
    _ namespace: NetworkNamespace, features: Features = FrameGuest.plain, pairs: Int = 1, receiveLength: Int = 2048,
    mode: WorkerConfiguration.Mode = .event
  ) throws {
    guest = try FrameGuest(features: features, pairs: pairs, receiveLength: receiveLength)
    let engine = try SoftwareEngine(workers: WorkerConfiguration(mode: mode))
    self.engine = engine
    device = unsafe try namespace.run { [engine] in
      Transfer(
        device: try engine.open(
          DeviceRequest(device: -1, owner: "vm0", type: .net, queues: pairs, parameters: ["port": "tap=tap0"])))
    }.device
    // No address of IPv6, so that nobody speaks without being asked.
    try namespace.ip(
      "link set tap0 addrgenmode none;addr add 10.9.0.1/24 dev tap0;link set tap0 up;"
        + "neigh replace 10.9.0.2 lladdr 02:00:00:00:00:09 dev tap0 nud permanent")
    try connect()
  }

  func connect() throws {
    try device.configure(
      DeviceSetup(
        features: guest.features, memory: guest.memory,
        vrings: guest.rings.map { DeviceSetup.Vring($0, isEnabled: true) }, observer: observer))
  }

  func end() {
    _ = try? device.close()
    engine.stop()
  }

  /// Hands a device over from the thread that has opened it, and does not use it any more.
  private struct Transfer: Sendable {
    nonisolated(unsafe) let device: any Device
  }

  /// Waits for something that the kernel or the worker brings about.
  func wait(_ what: String = "it", _ condition: () throws -> Bool) throws {
    let end = MonotonicClock.nanoseconds + 20_000_000_000
    while try !condition() {
      try #require(MonotonicClock.nanoseconds < end, "\(what) does not come")
      usleep(100)
    }
  }

  /// The counters of the guest's transmit ring.
  var sent: VringStatistics { device.capabilities.statistics?.vrings[1] ?? VringStatistics() }
}
