import Foundation
import SimulatorEngine
import Synchronization
import Testing
import VDPA
import Virtio

/// A registry with a simulator engine, one of whose devices is claimed.
final class Simulation {
  /// An engine −1 that nobody asks for anything.
  private final class NoSoftware: Engine {
    let attributes = EngineAttributes(deviceCount: 0)
    func open(_ request: DeviceRequest) throws -> sending any Device {
      throw VDPAError(.unknownDevice, "there is no software here")
    }
    func stop() {}
  }

  static let features: Features = [.version1, .netMergeableBuffers]

  let registry: Registry
  let handle: EngineHandle
  let engine: SimulatorEngine
  let context: DeviceContext
  /// The device that is claimed.
  let device: SimulatedDevice
  let observer = TestObserver()

  init(_ parameters: String = "", device index: Int = 0, queues: Int? = nil, type: DeviceType = .net) throws {
    registry = Registry(software: NoSoftware())
    let started = Mutex<SimulatorEngine?>(nil)
    try registry.register(SimulatorDriver { engine in started.withLock { $0 = engine } })
    handle = try registry.addEngine(
      driver: "simulator", at: EngineAddress("virtual", parameters: Parameters(parsing: parameters)))
    engine = try #require(started.withLock { $0 })
    device = try #require(engine.simulatedDevice(index))
    context = try registry.claim(
      DeviceHandle(engine: handle, device: index), type: type, owner: "vm0.sock", queues: queues)
  }

  func configure(_ memory: GuestMemory, _ vrings: [DeviceSetup.Vring], features: Features = features) throws {
    let setup = DeviceSetup(features: features, memory: memory, vrings: vrings, observer: observer)
    try wait { context.configure(setup, completion: $0) }
  }

  func close() throws -> [VringState] { try wait(context.close(completion:)).sorted { $0.index < $1.index } }

  func setVring(_ vring: DeviceSetup.Vring) throws { try wait { context.setVring(vring, completion: $0) } }

  func changeMemory(to memory: GuestMemory) throws { try wait { context.changeMemory(to: memory, completion: $0) } }

  /// Gives the device back and ends the engine.
  func end() throws {
    context.release()
    _ = eventually { (try? registry.removeEngine(handle)) != nil }
  }
}

/// Keeps what a device reports.
final class TestObserver: DeviceObserver {
  private let heard = Mutex<[DeviceReport]>([])
  var reports: [DeviceReport] { heard.withLock { $0 } }
  func deviceReports(_ report: DeviceReport) { heard.withLock { $0.append(report) } }
}

/// Waits for the completion of an operation.
func wait<Value: Sendable>(_ operation: (@escaping DeviceContext.Completion<Value>) -> Void) throws -> Value {
  let answer = Answer<Value>()
  operation { answer.put($0) }
  return try answer.get()
}

private final class Answer<Value: Sendable>: Sendable {
  private let value = Mutex<Result<Value, VDPAError>?>(nil)
  private let semaphore = DispatchSemaphore(value: 0)

  func put(_ result: Result<Value, VDPAError>) {
    value.withLock { $0 = result }
    semaphore.signal()
  }

  func get() throws -> Value {
    semaphore.wait()
    return try #require(value.withLock { $0 }).get()
  }
}

/// Waits until a condition holds; false after a minute.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
  let end = Date(timeIntervalSinceNow: 60)
  while Date() < end {
    if try condition() { return true }
    usleep(100)
  }
  return try condition()
}

/// The threads of this process with that name, as numbers.
func threads(named name: String) -> [Int] {
  let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
  return tasks.compactMap { task in
    let comm = try? String(contentsOfFile: "/proc/self/task/\(task)/comm", encoding: .utf8)
    return comm?.trimmingCharacters(in: .whitespacesAndNewlines) == name ? Int(task) : nil
  }
}

/// The nanoseconds that a thread of this process has run.
func runTime(ofThread number: Int) -> UInt64? {
  let text = try? String(contentsOfFile: "/proc/self/task/\(number)/schedstat", encoding: .utf8)
  return text?.split(separator: " ").first.flatMap { UInt64($0) }
}
