import Synchronization
import VDPA
import Virtio

@testable import Datapath

/// A device with an application port, configured for a guest, as a session would do it.
final class ServedGuest {
  /// Remembers what the device reports.
  final class Observer: DeviceObserver {
    let reports = Mutex<[DeviceReport]>([])
    func deviceReports(_ report: DeviceReport) { reports.withLock { $0.append(report) } }
  }

  let engine: SoftwareEngine
  let port: ApplicationPort
  let guest: NumberedGuest
  let observer = Observer()
  private(set) var device: any Device
  private(set) var memory: GuestMemory

  init(features: Features = [.version1, .netMergeableBuffers]) throws {
    engine = try SoftwareEngine()
    port = try engine.makeApplicationPort(named: "vm0")
    guest = try NumberedGuest(features: features)
    memory = try guest.snapshot()
    device = try engine.open(
      DeviceRequest(device: -1, owner: "vm0.sock", type: .net, parameters: port.parameters))
  }

  deinit { engine.stop() }

  var toGuest: NetQueue { port.pairs[0].receive }
  var fromGuest: NetQueue { port.pairs[0].transmit }

  /// A connection begins, with both rings at these positions; at their beginning unless said otherwise.
  func configure(at states: [VringState]? = nil) throws {
    let states = states ?? [guest.start(0), guest.start(1)]
    try device.configure(
      DeviceSetup(
        features: guest.features, memory: memory,
        vrings: states.map { DeviceSetup.Vring(guest.description($0), isEnabled: true) }, observer: observer))
  }

  /// A connection ends.
  func close() throws -> [VringState] { try device.close().sorted { $0.index < $1.index } }

  /// The same memory, mapped elsewhere.
  func changeMemory() throws {
    let old = memory
    memory = try guest.snapshot()
    try device.memoryChanged(from: old, to: memory)
  }

  func setVring(_ state: VringState, enabled: Bool = true) throws {
    try device.setVring(guest.description(state), enabled: enabled)
  }

  func stopVring(_ index: Int) throws -> VringState {
    guard let control = device.capabilities.vringControl else { throw DatapathError(.badVring, "no vring control") }
    return try control.stopVring(index)
  }
}
