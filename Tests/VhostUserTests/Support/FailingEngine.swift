import Synchronization
import VDPA
import Virtio

/// An engine whose one device does nothing, and fails or delays the operations that it is told to.
final class FailingEngine: Engine, EngineDriver {
  let name = "failing"
  let attributes = EngineAttributes(deviceCount: 1)
  /// Whether its device says of its rings where they stand, and not where nobody has left them.
  private let isHonest: Bool
  private let failing = Mutex<Set<String>>([])
  private let held = Mutex<Set<String>>([])
  private let released = FutexWord()
  private let observed = Mutex<(any DeviceObserver)?>(nil)
  private let begun = Mutex<[String]>([])

  /// Whether its device can be cut off from memory.
  private let hasFence: Bool

  init(isHonest: Bool = false, hasFence: Bool = false) {
    self.isHonest = isHonest
    self.hasFence = hasFence
  }

  /// The operations that were called, failed or not, and are not over if they are held.
  var calls: [String] { begun.withLock { $0 } }

  /// Makes these operations fail, and no others.
  func fail(_ operations: String...) { failing.withLock { $0 = Set(operations) } }

  /// Makes these operations last until others are held, or none, and no others.
  func hold(_ operations: String...) {
    held.withLock { $0 = Set(operations) }
    released.signal()
  }

  /// Makes the device report that it has failed.
  func reportFailure() { observed.withLock { $0 }?.deviceReports(.failed(reason: "it caught fire")) }

  func start(at address: EngineAddress) throws -> any Engine { self }
  func stop() {}
  func open(_ request: DeviceRequest) throws -> sending any Device { Failing(engine: self) }

  fileprivate func check(_ operation: String) throws {
    begun.withLock { $0.append(operation) }
    while case let seen = released.value, held.withLock({ $0.contains(operation) }) {
      released.wait(whileEqualTo: seen, nanoseconds: -1)
    }
    if failing.withLock({ $0.contains(operation) }) { throw Refusal(operation: operation) }
  }

  private struct Refusal: Error, CustomStringConvertible {
    let operation: String
    var description: String { "\(operation) was refused" }
  }

  private final class Failing: Device, PostcopyServing, Fencing {
    private let engine: FailingEngine
    private var vrings: [VringState] = []

    init(engine: FailingEngine) { self.engine = engine }

    let attributes = DeviceAttributes(
      type: .net, features: [.version1, .netMergeableBuffers, .packedRing],
      protocolFeatures: [.multiqueue, .replyAck, .memorySlots, .status, .pageFault], vringCount: 4)
    var capabilities: DeviceCapabilities { DeviceCapabilities(postcopy: self, fencing: engine.hasFence ? self : nil) }

    func configure(_ setup: DeviceSetup) throws {
      try engine.check("configure")
      vrings = setup.vrings.map(\.description.state)
      engine.observed.withLock { $0 = setup.observer }
    }
    /// Each ring stands at 40 more than its index, unless it is honest: it has taken nothing.
    func close() throws -> [VringState] {
      try engine.check("close")
      defer { vrings = [] }
      if engine.isHonest { return vrings }
      return vrings.map {
        VringState(index: $0.index, nextAvail: UInt16(40 + $0.index), nextUsed: UInt16(40 + $0.index))
      }
    }
    func fence() throws { try engine.check("fence") }
    func setVring(_ description: VringDescription, enabled: Bool) throws { try engine.check("setVring") }
    func setFeatures(_ features: Features) throws { try engine.check("setFeatures") }
    func migrationDone() throws { try engine.check("migrationDone") }
    func beginPostcopy() throws { try engine.check("beginPostcopy") }
    func endPostcopy() throws { try engine.check("endPostcopy") }
    func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws { try engine.check("memoryChanged") }
  }
}
