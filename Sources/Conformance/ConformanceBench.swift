internal import Glibc
internal import VDPA
internal import Virtio

/// What a rule is checked with: a registry with the engine, started anew, and what drives its devices.
final class ConformanceBench {
  /// An engine −1 that nobody asks for anything.
  private final class NoSoftware: Engine {
    let attributes = EngineAttributes(deviceCount: 0)
    func open(_ request: DeviceRequest) throws -> sending any Device {
      throw VDPAError(.unknownDevice, "this suite has no software engine")
    }
    func stop() {}
  }

  /// How long silence is listened to, in microseconds. A device that breaks it later is not found out.
  private static let silence: UInt32 = 100_000

  let suite: ConformanceSuite
  let registry: Registry
  private let engine: EngineHandle
  private let handle: DeviceHandle
  private var claimed: [DrivenDevice] = []

  init(_ suite: ConformanceSuite) throws {
    self.suite = suite
    registry = Registry(software: suite.software ?? NoSoftware())
    switch suite.subject {
    case .software:
      engine = .software
      handle = .software
    case .device(let driver, let address, let device):
      try registry.register(driver)
      engine = try registry.addEngine(driver: driver.name, at: address)
      handle = DeviceHandle(engine: engine, device: device)
    }
  }

  /// Gives everything back.
  ///
  /// - Throws: What kept it from doing so. A device that does not answer stays claimed: nobody waits for it.
  func end() throws {
    for device in claimed {
      _ = try device.context.wait(within: suite.patience) { $0.close(completion: $1) }
      device.release()
    }
    claimed = []
    guard engine != .software else { return }
    try registry.removeEngine(engine)
  }

  // MARK: Devices

  /// The device that is checked.
  func claim() throws -> DrivenDevice {
    try claim(handle, queues: suite.queues, suite.parameters)
  }

  /// Gives a device back, which can then be claimed again.
  func release(_ device: DrivenDevice) {
    device.release()
    claimed.removeAll { $0 === device }
  }

  /// A second device, to which the rings of the first may go.
  func partner(of device: DrivenDevice) throws -> DrivenDevice {
    let queues = device.attributes.queueCount
    if suite.software != nil { return try claim(.software, queues: queues, suite.softwareParameters) }
    let count = registry.devices.count { $0.handle.engine == engine }
    guard count > 1 else { throw ConformanceEnd.skip(missing: "second device to hand its rings to") }
    let next = DeviceHandle(engine: engine, device: (handle.device + 1) % count)
    return try claim(next, queues: suite.queues, suite.parameters)
  }

  private func claim(_ handle: DeviceHandle, queues: Int?, _ parameters: Parameters) throws -> DrivenDevice {
    let driver = VirtioDriver(registry, owner: "conformance")
    let device = try driver.claim(handle, type: suite.type, queues: queues, parameters: parameters)
    device.patience = suite.patience
    claimed.append(device)
    return device
  }

  // MARK: Features and guests

  /// The ring formats that a device offers.
  func formats(of device: DrivenDevice) -> [RingLayout.Format] {
    device.attributes.features.contains(.packedRing) ? [.split, .packed] : [.split]
  }

  /// What is negotiated with a device, unless a rule is about something else.
  func features(_ format: RingLayout.Format, of devices: DrivenDevice...) -> Features {
    var wanted: Features = [.version1, .eventIndex, .indirectDescriptors]
    if suite.type == .net { wanted.formUnion([.netMergeableBuffers, .netControlQueue, .netMultiqueue]) }
    if suite.type == .block { wanted.formUnion([.blockFlush, .blockMultiqueue]) }
    wanted = devices.reduce(wanted) { $0.intersection($1.attributes.features) }
    return format == .packed ? wanted.union(.packedRing) : wanted
  }

  /// A queue as users count them: a pair for net, a ring for block.
  func rings(ofQueue queue: Int) -> [Int] {
    let count = suite.type.ringsPerQueue
    return Array(queue * count..<(queue + 1) * count)
  }

  /// The ring of a queue on which a driver asks for something: what it sends, or the requests.
  func requestRing(ofQueue queue: Int) -> Int { rings(ofQueue: queue).last ?? 0 }

  /// Negotiates and makes a guest for single exchanges over all queues.
  func guest(
    for device: DrivenDevice, _ format: RingLayout.Format, ringSize: Int? = nil, regionCount: Int = 1,
    bufferBytes: Int? = nil
  ) throws -> DriverGuest {
    try device.negotiate(features(format, of: device))
    let bytes =
      suite.type == .net ? NetPairDriver.bufferBytes(count: NetProbe.buffers) : BlockQueueDriver.bufferBytes
    return try device.makeGuest(
      ringSize: ringSize ?? min(64, device.attributes.maxRingSize),
      bufferBytes: bufferBytes ?? (device.attributes.queueCount + 1) * bytes, regionCount: regionCount)
  }

  /// Single exchanges over a queue.
  func probe(_ guest: DriverGuest, queue: Int = 0) throws -> any Probe {
    switch suite.type {
    case .net: try NetProbe(guest, pair: queue, patience: suite.patience)
    case .block: try BlockProbe(guest, vring: queue, patience: suite.patience)
    default: throw ConformanceEnd.skip(missing: "traffic that is known here: it is neither net nor block")
    }
  }

  /// Negotiates and makes a guest with traffic over all queues.
  func traffic(
    for device: DrivenDevice, _ features: Features, ringSize wanted: Int = 64, startingAt start: UInt16? = nil
  ) throws -> any GuestTraffic {
    try device.negotiate(features)
    let (ringSize, count) = (min(wanted, device.attributes.maxRingSize), device.attributes.vringCount)
    func guest(_ bytes: Int) throws -> DriverGuest {
      try device.makeGuest(ringSize: ringSize, bufferBytes: bytes, regionCount: 3, startingAt: start)
    }
    switch suite.type {
    case .net:
      return try LoopbackTraffic(
        guest(LoopbackTraffic.bufferBytes(ringSize: ringSize, pairs: device.attributes.queueCount)))
    case .block: return try BlockTraffic(guest(BlockTraffic.bufferBytes(vrings: count)))
    default: throw ConformanceEnd.skip(missing: "traffic that is known here: it is neither net nor block")
    }
  }

  /// Waits until all traffic has come back.
  func finish(_ traffic: any GuestTraffic, _ more: UInt64 = 0) throws {
    let isComplete = try traffic.run(more, patience: suite.patience)
    if let problem = traffic.problem { throw ConformanceEnd.violation(problem) }
    try require(isComplete, "\(traffic.progress) within \(suite.patience)")
  }

  /// Lets traffic run for some turns, so that some of it is under way.
  func begin(_ traffic: any GuestTraffic, _ more: UInt64, turns: Int = 10) throws {
    traffic.want(more)
    for _ in 0..<turns where try !traffic.step() { traffic.guest.wait(milliseconds: 1) }
  }

  // MARK: Silence

  /// Puts a request into the ring of a queue, and kicks whether the device wants that or not.
  ///
  /// - Returns: Where a device that answers it writes to.
  @discardableResult
  func offerRequest(_ guest: DriverGuest, queue: Int = 0) throws -> [Range<UInt64>] {
    let vring = guest.vrings[requestRing(ofQueue: queue)]
    let (header, data) = (try guest.memory.allocate(128), try guest.memory.allocate(1024))
    switch suite.type {
    case .net: _ = vring.add(readable: [(header, 128)])
    default:
      guest.memory.write(BlockRequest(.read).encoded, at: header)
      _ = vring.add(readable: [(header, BlockRequest.headerLength)], writable: [(data, 512), (data + 512, 1)])
    }
    vring.publish()
    EventFD.signal(vring.kick)
    return [data..<data + 1024]
  }

  /// Lets a device that is to keep still do what it would.
  func listen() { usleep(ConformanceBench.silence) }
}
