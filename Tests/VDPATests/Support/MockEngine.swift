import Foundation
import Synchronization
import VDPA
import Virtio

/// What happened to the engines and devices of a test, in order.
final class Journal: Sendable {
  private let entries = Mutex<[String]>([])
  /// Where the entries go, and what they begin with there.
  private let whole: Journal?
  private let prefix: String

  init(_ whole: Journal? = nil, _ name: String? = nil) {
    self.whole = whole
    prefix = name.map { $0 + ": " } ?? ""
  }

  var all: [String] { entries.withLock { $0 } }

  func note(_ entry: String) {
    if let whole { return whole.note(prefix + entry) }
    entries.withLock { $0.append(entry) }
  }
}

/// An error of a device or a driver.
struct MockError: Error, CustomStringConvertible {
  let description: String
}

/// A driver whose engines do nothing but say so.
struct MockDriver: EngineDriver {
  var name = "mock"
  var engine = MockEngine()

  func start(at address: EngineAddress) throws -> any Engine {
    if address.text == "broken" { throw MockError(description: "no such hardware") }
    return engine
  }
}

final class MockEngine: Engine {
  let journal: Journal
  let devices: Int
  let device: DeviceAttributes
  let hasMap: Bool
  /// Operations that fail.
  let failing: Set<String>
  /// Entered by the operation `configure` after it was noted, to hold it up.
  let gate: DispatchSemaphore?
  /// What its devices' entries begin with; they say then where a device is configured to begin, too.
  let name: String?

  init(
    journal: Journal = Journal(), devices: Int = 2, device: DeviceAttributes = MockEngine.netDevice,
    hasMap: Bool = false, failing: Set<String> = [], gate: DispatchSemaphore? = nil, name: String? = nil
  ) {
    self.journal = journal
    self.devices = devices
    self.device = device
    self.hasMap = hasMap
    self.failing = failing
    self.gate = gate
    self.name = name
  }

  static let netDevice = DeviceAttributes(
    type: .net, features: [.version1], protocolFeatures: [], vringCount: 2, maxRingSize: 256,
    operationsMayBlock: false)

  var attributes: EngineAttributes { EngineAttributes(deviceCount: devices) }

  func open(_ request: DeviceRequest) throws -> sending any Device {
    journal.note("open \(request.device) for \(request.owner)")
    if failing.contains("open") { throw MockError(description: "the device does not answer") }
    return MockDevice(
      attributes: device, journal: Journal(journal, name), hasMap: hasMap, failing: failing, gate: gate,
      isNamed: name != nil)
  }

  func stop() { journal.note("stop") }
}

/// A device that notes what it is told.
final class MockDevice: Device {
  private struct Map: DMATranslation {
    let journal: Journal
    let failing: Set<String>

    func map(_ range: AddressMap.Range) throws {
      let name = "map 0x\(String(range.start, radix: 16))"
      journal.note(name)
      if failing.contains(name) { throw MockError(description: "\(name) was refused") }
    }

    func unmap(start: UInt64, size: UInt64) throws { journal.note("unmap 0x\(String(start, radix: 16))") }
  }

  let attributes: DeviceAttributes
  private let journal: Journal
  private let hasMap: Bool
  private let failing: Set<String>
  private let gate: DispatchSemaphore?
  private let isNamed: Bool

  init(
    attributes: DeviceAttributes, journal: Journal, hasMap: Bool, failing: Set<String>, gate: DispatchSemaphore?,
    isNamed: Bool = false
  ) {
    self.attributes = attributes
    self.journal = journal
    self.hasMap = hasMap
    self.failing = failing
    self.gate = gate
    self.isNamed = isNamed
  }

  deinit { journal.note("gone") }

  var capabilities: DeviceCapabilities {
    DeviceCapabilities(dmaTranslation: hasMap ? Map(journal: journal, failing: failing) : nil)
  }

  private func note(_ operation: String) throws {
    journal.note(operation)
    if failing.contains(operation) { throw MockError(description: "\(operation) was refused") }
  }

  func configure(_ setup: DeviceSetup) throws {
    let start = setup.vrings.first.map { " at \($0.description.state.nextAvail)" } ?? ""
    if failing.contains("configure") {
      journal.note(isNamed ? "configure" + start : "configure")
      throw MockError(description: "configure was refused")
    }
    if failing.contains("configure late") {
      throw PartialStart(
        MockError(description: "it fell over"), states: [VringState(index: 0, nextAvail: 9, nextUsed: 9)])
    }
    try note(isNamed ? "configure" + start : "configure")
    gate?.wait()
  }

  func close() throws -> [VringState] {
    try note("close")
    return [VringState(index: 0, nextAvail: 7, nextUsed: 5)]
  }

  func setVring(_ description: VringDescription, enabled: Bool) throws { try note("setVring") }
  func setFeatures(_ features: Features) throws { try note("setFeatures") }
  func migrationDone() throws { try note("migrationDone") }
  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws { try note("memoryChanged") }
}

struct SilentObserver: DeviceObserver {
  func deviceReports(_ report: DeviceReport) {}
}
