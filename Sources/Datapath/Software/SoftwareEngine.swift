import Synchronization
public import VDPA
internal import Virtio

/// The software datapath: engine −1, which makes a device for each socket that claims one.
///
/// `Registry(software: SoftwareEngine())` is how it gets in. A net device takes the parameters `port` (what it does with
/// packets, see ``PortConfiguration``), `mac` and `mtu`.
public final class SoftwareEngine: Engine {
  private let workers: [Worker]
  /// Where the next device's queue pairs begin, so that devices are spread over the workers too.
  private let next = Atomic<Int>(0)

  /// Starts the workers.
  ///
  /// - Parameter configuration: How many there are and how they run.
  /// - Throws: ``DatapathError`` `badConfiguration` for a CPU that cannot be used, or `system`.
  public init(workers configuration: WorkerConfiguration = WorkerConfiguration()) throws(DatapathError) {
    try configuration.validate()
    var workers: [Worker] = []
    let cpus: [Int?] = configuration.cpus.isEmpty ? [nil] : configuration.cpus
    for (i, cpu) in cpus.enumerated() {
      do throws(DatapathError) {
        workers.append(try Worker(name: "vdpa-worker-\(i)", mode: configuration.mode, cpu: cpu))
      } catch {
        for worker in workers { worker.stop() }
        throw error
      }
    }
    self.workers = workers
  }

  /// No device until one is claimed.
  public var attributes: EngineAttributes { EngineAttributes(deviceCount: 0) }

  /// Makes a device.
  public func open(_ request: DeviceRequest) throws -> sending any Device {
    guard request.type == .net else {
      throw DatapathError(
        .unsupportedType, "the software datapath serves net devices; there is none of type \(request.type)")
    }
    let pairs = request.queues ?? 1
    let first = next.wrappingAdd(pairs, ordering: .relaxed).oldValue
    return try SoftwareNetDevice(request) { [workers] pair in
      workers[Int(UInt(bitPattern: first &+ pair) % UInt(workers.count))]
    }
  }

  /// Ends the workers. All devices have been closed.
  public func stop() {
    for worker in workers { worker.stop() }
  }

  /// Makes all workers stand still: nothing that software serves moves, nothing is lost.
  public func pause() {
    for worker in workers { worker.pause() }
  }

  /// Goes on after ``pause()``.
  public func resume() {
    for worker in workers { worker.resume() }
  }
}
