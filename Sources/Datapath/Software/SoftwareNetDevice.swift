internal import VDPA
internal import Virtio

/// A net device in software: queue pairs, each served by a worker with a port, or by the application.
final class SoftwareNetDevice: Device {
  private let owner: String
  private var configuration: NetConfiguration
  /// The largest MTU that a front-end can set.
  private let mtuLimit: Int
  private let pairs: [any NetPairServer]
  private var postcopyHome = PostcopyHome()
  /// How many of the pairs have begun to belong to this device.
  private var begun = 0
  private var features: Features = []
  private var memory: GuestMemory?
  private var observer: (any DeviceObserver)?
  /// Where writes to guest memory are noted; nil for nowhere.
  private var log: DirtyLog?

  let attributes: DeviceAttributes

  /// The most queue pairs: what a vhost-user connection can name in 8 bits.
  static let maxPairs = 128

  /// What an MTU may be (virtio 1.2, §5.1.4.1).
  private static let mtus = 68...65535

  /// Makes a device.
  ///
  /// - Parameters:
  ///   - request: What it has to be like.
  ///   - worker: Which worker serves a queue pair, if one does.
  ///   - switches: The switches that a port can be of.
  ///   - application: The application port of a name.
  init(
    _ request: DeviceRequest, worker: (Int) -> Worker, switches: Switches,
    application: (String) -> ApplicationPort?
  ) throws {
    try request.parameters.allow(only: ["port", "mac", "mtu", "offloads"], for: "a software net device")
    pairs = try SoftwareNetDevice.pairs(
      for: request, worker: worker, switches: switches, application: application)
    let isApplication = ApplicationPort.name(in: request.parameters["port"] ?? "") != nil
    let count = pairs.count
    var features: Features = DeviceRing.features.union([
      .accessPlatform, .netMergeableBuffers, .netControlQueue, .netControlReceive, .netGuestAnnounce, .netMTU,
      .netStatus,
    ])
    switch request.parameters["offloads"] {
    case nil, "off": break
    case "on" where ApplicationPort.name(in: request.parameters["port"] ?? "") == nil:
      features.formUnion(.netOffloads)
    case "on":
      throw DatapathError(
        .badConfiguration, "\(request.owner): offloads=on; an application gets and gives packets that are complete")
    case let text?:
      throw DatapathError(.badConfiguration, "\(request.owner): offloads=\(text) is neither on nor off")
    }
    if count > 1 { features.insert(.netMultiqueue) }
    var mac = MACAddress.zero
    if let text = request.parameters["mac"] {
      guard let parsed = MACAddress(text) else {
        throw DatapathError(.badConfiguration, "\(request.owner): mac=\(text) is not an Ethernet address")
      }
      mac = parsed
      features.insert(.netMAC)
    }
    let mtu = try request.parameters.int("mtu", in: SoftwareNetDevice.mtus)
    configuration = NetConfiguration(mac: mac, maxQueuePairs: UInt16(count), mtu: UInt16(mtu ?? 1500))
    mtuLimit = mtu ?? SoftwareNetDevice.mtus.upperBound
    owner = request.owner
    var protocolFeatures: ProtocolFeatures = [.logSharedMemory, .rarp, .mtu, .status]
    // The application's threads would have to wait for the pages.
    if !isApplication { protocolFeatures.insert(.pageFault) }
    attributes = DeviceAttributes(
      type: .net, features: features, protocolFeatures: protocolFeatures,
      vringCount: 2 * count, operationsMayBlock: false)
  }

  private static func pairs(
    for request: DeviceRequest, worker: (Int) -> Worker, switches: Switches,
    application: (String) -> ApplicationPort?
  ) throws -> [any NetPairServer] {
    if let count = request.queues, !(1...maxPairs).contains(count) {
      throw DatapathError(
        .badConfiguration, "\(request.owner): \(count) queue pairs; a net device has 1 to \(maxPairs)")
    }
    let text = request.parameters["port"] ?? "loopback"
    guard let name = ApplicationPort.name(in: text) else {
      let count = request.queues ?? 1
      let ports = try PortSource(
        PortConfiguration(parsing: text), pairs: count, owner: request.owner, switches: switches)
      return (0..<count).map { i in
        NetPair(
          name: "\(request.owner) queue pair \(i)", worker: worker(i), port: ports.make(i),
          receive: OwnedVring(name: "\(request.owner) vring \(2 * i)"),
          transmit: OwnedVring(name: "\(request.owner) vring \(2 * i + 1)"))
      }
    }
    guard let port = application(name) else {
      throw DatapathError(
        .badConfiguration,
        "\(request.owner): there is no application port \"\(name)\"; the application has to make it before a socket names it"
      )
    }
    let count = request.queues ?? port.servers.count
    guard count <= port.servers.count else {
      throw DatapathError(
        .badConfiguration,
        "\(request.owner): \(count) queue pairs are wanted; application port \(name) has \(port.servers.count)")
    }
    return Array(port.servers.prefix(count))
  }

  var capabilities: DeviceCapabilities {
    DeviceCapabilities(
      vringControl: self, configuration: self, statistics: SoftwareNetStatistics(pairs), dirtyTracking: self,
      announcement: self, mtuControl: self,
      postcopy: attributes.protocolFeatures.contains(.pageFault) ? self : nil)
  }

  // MARK: Operations

  func configure(_ setup: DeviceSetup) throws {
    // What could not be closed when an earlier try failed.
    if begun > 0 { _ = try close() }
    features = setup.features
    memory = setup.memory
    observer = setup.observer
    do {
      for pair in pairs {
        try pair.begin(for: owner)
        begun += 1
      }
      for vring in setup.vrings { try start(vring) }
    } catch {
      let states = try close()
      throw states.isEmpty ? error : PartialStart(error, states: states)
    }
  }

  func close() throws -> [VringState] {
    var states: [VringState] = []
    var failure: (any Error)?
    for i in 0..<begun {
      // The transmit ring first: without a receive ring the port might drop what it still takes from the guest.
      for index in [2 * i + 1, 2 * i] {
        do {
          if let state = try stop(index) { states.append(state) }
        } catch {
          // Whoever is stuck in it keeps the vring with its memory; nobody else enters it.
          failure = error
        }
      }
    }
    if let failure { throw failure }
    for pair in pairs.prefix(begun) { pair.end() }
    begun = 0
    memory = nil
    observer = nil
    return states
  }

  func setVring(_ description: VringDescription, enabled: Bool) throws {
    // Before configure nothing runs, and configure repeats it.
    guard memory != nil else { return }
    let isRunning = try change(description.index) { vring, pair, isTransmit -> Bool in
      guard var running = vring else { return false }
      if running.kick !== description.kick {
        if let kick = description.kick { try pair.watch(kick, isTransmit: isTransmit) }
        if let kick = running.kick { pair.unwatch(kick, isTransmit: isTransmit) }
      }
      let isNewCall = running.call !== description.call
      running.update(description, isEnabled: enabled)
      vring = running
      // A call that went to the old descriptor may have been lost on the way.
      if isNewCall { running.callOnce() }
      return true
    }
    if !isRunning { try start(DeviceSetup.Vring(description, isEnabled: enabled)) }
  }

  func setFeatures(_ features: Features) throws {
    // They take effect on the rings that start from now on; nothing that is offered changes a running one.
    self.features = features
  }

  func migrationDone() throws {}

  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws {
    guard memory != nil else { return }
    for index in 0..<attributes.vringCount where vring(index).status != .stopped {
      try change(index) { vring, _, _ in try vring?.move(to: new) }
    }
    memory = new
  }

  // MARK: Vrings

  /// Changes a vring of a pair that belongs to this device, between two bursts.
  private func change<Result>(
    _ index: Int, _ body: (inout NetVring?, any NetPairServer, _ isTransmit: Bool) throws -> Result
  ) throws -> Result {
    let pair = pairs[index / 2]
    let isTransmit = index % 2 == 1
    defer { pair.changed(isTransmit: isTransmit) }
    return try vring(index).change { vring in try body(&vring, pair, isTransmit) }
  }

  private func vring(_ index: Int) -> OwnedVring {
    index % 2 == 1 ? pairs[index / 2].transmit : pairs[index / 2].receive
  }

  private func start(_ setup: DeviceSetup.Vring) throws {
    guard let memory else { return }
    let index = setup.description.index
    let running: NetVring
    do {
      running = try NetVring(
        setup, features: features, configuration: configuration, memory: memory, log: log,
        counters: vring(index).counters, observer: observer)
    } catch {
      throw DatapathError(.badVring, "vring \(index) cannot be served: \(error)")
    }
    try change(index) { vring, pair, isTransmit in
      if let kick = running.kick {
        do {
          try pair.watch(kick, isTransmit: isTransmit)
        } catch {
          throw DatapathError(.badVring, "the kick descriptor of vring \(index) cannot be watched: \(error)")
        }
      }
      vring = running
    }
    // The guest may wait for a call that whoever served the ring before did not live to make.
    running.callOnce()
  }

  private func stop(_ index: Int) throws -> VringState? {
    try change(index) { vring, pair, isTransmit in
      defer { vring = nil }
      if let kick = vring?.kick { pair.unwatch(kick, isTransmit: isTransmit) }
      return vring?.state
    }
  }
}

extension SoftwareNetDevice: VringControl {
  func stopVring(_ index: Int) throws -> VringState {
    guard memory != nil, let state = try stop(index) else {
      throw DatapathError(.badVring, "vring \(index) is not running, so it cannot be stopped")
    }
    return state
  }
}

extension SoftwareNetDevice: PostcopyServing {
  func beginPostcopy() throws {
    try postcopyHome.enter(pairs) {
      try $0.leave(for: $1)
    } undo: {
      try $0.comeBack()
    }
    mayTakeLong(true)
  }

  func endPostcopy() throws {
    mayTakeLong(false)
    try postcopyHome.leave(pairs) { try $0.comeBack() }
  }
}

extension SoftwareNetDevice {
  private func mayTakeLong(_ mayTakeLong: Bool) {
    for pair in pairs { pair.mayTakeLong(mayTakeLong) }
  }
}

extension SoftwareNetDevice: ConfigurationSpace {
  var bytes: [UInt8] { configuration.encoded }
}

extension SoftwareNetDevice: DirtyTracking {
  func setLog(_ log: DirtyLog?) throws {
    let old = self.log
    func set(_ log: DirtyLog?, _ index: Int) throws {
      try change(index) { vring, _, _ in vring?.log = log }
    }
    // The vrings of a pair that is not this device's have no log of its front-end.
    try (0..<2 * begun).changeAll {
      try set(log, $0)
    } undo: {
      try set(old, $0)
    }
    self.log = log
  }
}

extension SoftwareNetDevice: GuestAnnouncement {
  func announce(_ address: MACAddress) throws {
    // Without a connection there is no guest here that anybody could reach.
    if begun > 0 { try pairs[0].announce(ReverseARP.request(for: address)) }
  }
}

extension SoftwareNetDevice: MTUControl {
  /// The MTU is what the guest's driver is told and keeps to (virtio 1.2, §5.1.4.1); packets are not measured by it, for
  /// that would cost something for each.
  func setMTU(_ mtu: UInt16) throws {
    guard (SoftwareNetDevice.mtus.lowerBound...mtuLimit).contains(Int(mtu)) else {
      throw DatapathError(
        .badConfiguration,
        "\(owner): an MTU of \(mtu) bytes is not from \(SoftwareNetDevice.mtus.lowerBound) to \(mtuLimit), which the "
          + "parameter mtu allows; give the guest a smaller one (host_mtu) or the socket a larger one")
    }
    configuration.mtu = mtu
  }
}

/// The counters of a software net device. Who holds them does not hold the device, and with it its memory.
private struct SoftwareNetStatistics: DeviceStatistics {
  private let counters: [VringCounters]

  init(_ pairs: [any NetPairServer]) {
    counters = pairs.flatMap { [$0.receive.counters, $0.transmit.counters] }
  }

  var vrings: [VringStatistics] { counters.map(\.snapshot) }
}
