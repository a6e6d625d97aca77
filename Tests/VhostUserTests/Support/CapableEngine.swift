import Synchronization
import VDPA
import Virtio

/// An engine whose one device has every capability, moves no packets, and writes down what it is told.
final class CapableEngine: Engine, EngineDriver {
  /// What the device was told and what it says.
  struct Record {
    var told: [String] = []
    var configuration = [UInt8](0..<16)
    var state: [UInt8] = []
    var observer: (any DeviceObserver)?
  }

  let name = "capable"
  let attributes = EngineAttributes(deviceCount: 1)
  /// A page in which a write would be a kick, if there were hardware.
  let page: OwnedFD
  let record = Mutex(Record())

  init() throws { page = try EventFD.make() }

  /// The device's own state.
  var state: [UInt8] {
    get { record.withLock { $0.state } }
    set { record.withLock { $0.state = newValue } }
  }

  var told: [String] { record.withLock { $0.told } }

  func report(_ report: DeviceReport) { record.withLock { $0.observer }?.deviceReports(report) }

  func start(at address: EngineAddress) throws -> any Engine { self }
  func stop() {}
  func open(_ request: DeviceRequest) throws -> sending any Device { Capable(engine: self) }

  private func note(_ what: String) { record.withLock { $0.told.append(what) } }

  private final class Capable: Device, ConfigurationSpace, GuestAnnouncement, MTUControl, NotifyArea, StateTransfer,
    SharedObjects
  {
    private struct Refusal: Error, CustomStringConvertible { let description: String }

    private let engine: CapableEngine
    private var vrings: [Int] = []

    init(engine: CapableEngine) { self.engine = engine }

    let attributes = DeviceAttributes(
      type: .net, features: [.version1, .netMergeableBuffers],
      protocolFeatures: [.mtu, .rarp, .configuration, .hostNotifier, .status, .sharedObject, .deviceState],
      vringCount: 4)
    var capabilities: DeviceCapabilities {
      DeviceCapabilities(
        configuration: self, announcement: self, mtuControl: self, notifyArea: self, stateTransfer: self,
        sharedObjects: self)
    }

    func configure(_ setup: DeviceSetup) throws {
      vrings = setup.vrings.map(\.description.index)
      engine.record.withLock { $0.observer = setup.observer }
      engine.note("configure")
    }
    func close() throws -> [VringState] {
      engine.note("close")
      engine.record.withLock { $0.observer = nil }
      defer { vrings = [] }
      return vrings.map { VringState(index: $0, nextAvail: 7, nextUsed: 7) }
    }
    func setVring(_ description: VringDescription, enabled: Bool) throws { vrings.append(description.index) }
    func setFeatures(_ features: Features) throws {}
    func migrationDone() throws { engine.note("migrationDone") }
    func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws {}

    var bytes: [UInt8] { engine.record.withLock { $0.configuration } }
    func write(_ bytes: [UInt8], at offset: Int, isRestoring: Bool) throws {
      guard isRestoring || offset == 4 else { throw Refusal(description: "byte \(offset) can only be read") }
      engine.note("write \(bytes) at \(offset)\(isRestoring ? " restoring" : "")")
    }
    func announce(_ address: MACAddress) throws { engine.note("announce \(address)") }
    func setMTU(_ mtu: UInt16) throws {
      guard mtu <= 9000 else { throw Refusal(description: "an MTU of \(mtu)") }
      engine.note("mtu \(mtu)")
    }
    /// The second ring has none.
    func doorbell(of index: Int) throws -> Doorbell? {
      index == 1 ? nil : Doorbell(file: engine.page, offset: UInt64(index) * 4096)
    }
    func saveState() throws -> [UInt8] { engine.record.withLock { $0.state } }
    func loadState(_ bytes: [UInt8]) throws {
      guard bytes.first != 0xff else { throw Refusal(description: "a state of another version") }
      engine.record.withLock { $0.state = bytes }
    }
    func sharedObject(_ uuid: [UInt8]) -> OwnedFD? { uuid.first == 1 ? engine.page : nil }
    func sharedObjectFound(_ uuid: [UInt8], _ object: OwnedFD?) {
      engine.note("found \(uuid[0]): \(object.map { $0.isEventFD ? "an eventfd" : "a file" } ?? "nothing")")
    }
  }
}
