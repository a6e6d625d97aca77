import Synchronization
public import VDPA
public import Virtio

/// The software datapath: engine −1, which makes a device for each socket that claims one.
///
/// `Registry(software: SoftwareEngine())` is how it gets in. A net device takes the parameters `port` (what it does with
/// packets, see ``PortConfiguration`` and ``ApplicationPort``), `mac`, `mtu` and `offloads` (`on` to offer checksum and
/// segmentation offloads, which not every driver asks for correctly). A block device takes `blk-file` (the path of the file
/// or block device that it is made of), `read-only`, `shared` (another device may write to it too: the
/// other end of a migration on this machine), `serial` (its name, up to 20 characters) and `io` (how the file is read
/// and written: `uring` or `threads`; without it io_uring where there is one).
public final class SoftwareEngine: Engine {
  /// Makes a device for a socket; it is told the socket's name, type, queues and parameters, and throws what an operator
  /// has to know when it cannot.
  public typealias Factory = @Sendable (DeviceRequest) throws -> any SoftwareDevice

  let workers: [Worker]
  private let watchdog: Watchdog?
  private let switches = Switches()
  private let applications = Mutex<[String: ApplicationPort]>([:])
  private let factories = Mutex<[DeviceType: Factory]>([.block: { request in try SoftwareBlockDevice(request) }])
  /// Where the next device's queue pairs begin, so that devices are spread over the workers too.
  private let next = Atomic<Int>(0)

  /// Starts the workers.
  ///
  /// - Parameters:
  ///   - configuration: How many there are and how they run.
  ///   - onReport: Is told of a worker that has been with one queue for two seconds, and when it goes on. Called on a thread
  ///     of its own, which there is only for this.
  /// - Throws: ``DatapathError`` `badConfiguration` for a CPU that cannot be used, or `system`.
  public init(
    workers configuration: WorkerConfiguration = WorkerConfiguration(),
    onReport: (@Sendable (WorkerReport) -> Void)? = nil
  ) throws(DatapathError) {
    try configuration.validate()
    var workers: [Worker] = []
    let cpus: [Int?] =
      configuration.cpus.isEmpty ? Array(repeating: nil, count: configuration.count) : configuration.cpus
    for (i, cpu) in cpus.enumerated() {
      do throws(DatapathError) {
        workers.append(
          try Worker(
            name: "vdpa-worker-\(i)", mode: configuration.mode, cpu: cpu, idleTime: configuration.idleTime))
      } catch {
        for worker in workers { worker.stop() }
        throw error
      }
    }
    let watchdog = onReport.map { Watchdog(workers, report: $0) }
    do throws(DatapathError) {
      try watchdog?.start()
    } catch {
      for worker in workers { worker.stop() }
      throw error
    }
    self.workers = workers
    self.watchdog = watchdog
  }

  /// No device until one is claimed.
  public var attributes: EngineAttributes { EngineAttributes(deviceCount: 0) }

  /// Makes a device.
  public func open(_ request: DeviceRequest) throws -> sending any Device {
    let first = next.wrappingAdd(request.queues ?? 1, ordering: .relaxed).oldValue
    let worker = { [workers] queue in workers[Int(UInt(bitPattern: first &+ queue) % UInt(workers.count))] }
    if request.type == .net {
      return try SoftwareNetDevice(request, worker: worker, switches: switches) { name in
        applications.withLock { $0[name] }
      }
    }
    guard let make = factories.withLock({ $0[request.type] }) else {
      throw DatapathError(
        .unsupportedType, "the software datapath serves net and block devices; there is none of type \(request.type)")
    }
    return try SoftwareChainDevice(try make(request), request, worker: worker)
  }

  /// Makes a device type known: whoever asks for a device of that type gets one that `make` makes.
  ///
  /// - Parameters:
  ///   - type: Any type but net, which is built in. A type that is known already is replaced for the devices to come.
  ///   - make: Called for each device, on the thread that asks for it.
  public func register(_ type: DeviceType, make: @escaping Factory) {
    precondition(type != .net, "net devices are built in")
    factories.withLock { $0[type] = make }
  }

  /// Makes a port whose packets the application moves itself; a socket gets it by ``ApplicationPort/parameters``.
  ///
  /// - Parameters:
  ///   - name: What it is called in parameters, logs and errors; no other one of this engine is called so.
  ///   - pairs: How many queue pairs a socket can have at most, 1 to 128.
  /// - Throws: ``DatapathError`` `badConfiguration`, `inUse` for a name that is taken, or `system`.
  public func makeApplicationPort(named name: String, pairs: Int = 1) throws(DatapathError) -> ApplicationPort {
    let port = try ApplicationPort(name: name, pairs: pairs)
    let isNew = applications.withLock { applications in
      guard applications[name] == nil else { return false }
      applications[name] = port
      return true
    }
    guard isNew else { throw DatapathError(.inUse, "there is an application port \(name) already; give each its name") }
    return port
  }

  /// Forgets an application port. A device that has it goes on; no other one can get it any more.
  public func removeApplicationPort(_ port: ApplicationPort) {
    applications.withLock { applications in
      if applications[port.name] === port { applications[port.name] = nil }
    }
  }

  /// The counters of all switches' ports, by the switch's name; a port is there for as long as its socket has the device.
  public var switchStatistics: [String: [SwitchPortStatistics]] { switches.statistics }

  /// Ends the workers. All devices have been closed.
  public func stop() {
    watchdog?.stop()
    for worker in workers { worker.stop() }
  }

  /// Makes all workers stand still: nothing that they serve moves, nothing is lost. The queues of application ports are not
  /// theirs.
  public func pause() {
    for worker in workers { worker.pause() }
  }

  /// Goes on after ``pause()``.
  public func resume() {
    for worker in workers { worker.resume() }
  }
}
