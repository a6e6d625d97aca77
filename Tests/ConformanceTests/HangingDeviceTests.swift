import Conformance
import Foundation
import Testing
import VDPA
import Virtio

/// A device that never answers keeps nobody waiting.
struct HangingDeviceTests {
  private struct Driver: EngineDriver {
    let name = "hanging"
    let end: DispatchSemaphore
    func start(at address: EngineAddress) throws -> any Engine { HangingEngine(end) }
  }

  private final class HangingEngine: Engine {
    private let end: DispatchSemaphore
    init(_ end: DispatchSemaphore) { self.end = end }
    let attributes = EngineAttributes(deviceCount: 1)
    func open(_ request: DeviceRequest) throws -> sending any Device { HangingDevice(end) }
    func stop() {}
  }

  private final class HangingDevice: Device {
    private let end: DispatchSemaphore
    init(_ end: DispatchSemaphore) { self.end = end }
    let attributes = DeviceAttributes(type: .net, features: [.version1], protocolFeatures: [], vringCount: 2)
    let capabilities = DeviceCapabilities()
    func configure(_ setup: DeviceSetup) throws {}
    func close() throws -> [VringState] {
      end.wait()
      return []
    }
    func setVring(_ description: VringDescription, enabled: Bool) throws {}
    func setFeatures(_ features: Features) throws {}
    func migrationDone() throws {}
    func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws {}
  }

  @Test("A device that cannot be closed in time breaks the rule, and the suite goes on")
  func hangs() throws {
    let end = DispatchSemaphore(value: 0)
    var suite = ConformanceSuite(driver: Driver(end: end), address: EngineAddress("here"), type: .net)
    suite.patience = .milliseconds(200)
    let rules = try ["lifecycle.states", "attributes.stable"].map { try #require(Conformance.rule($0)) }
    let report = suite.run(rules)
    #expect(report.failures.count == 2)
    for failure in report.failures { #expect(failure.failure?.contains("has not answered") == true, "\(failure)") }
    // So that no thread is left behind: each rule asks twice at most.
    for _ in 0..<8 { end.signal() }
  }
}
