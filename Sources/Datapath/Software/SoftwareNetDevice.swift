internal import VDPA
internal import Virtio

/// A net device in software: queue pairs, each with a port, each served by a worker.
final class SoftwareNetDevice: Device {
  private let owner: String
  private let configuration: NetConfiguration
  private let pairs: [NetPair]
  private var features: Features = []
  private var memory: GuestMemory?
  private var observer: (any DeviceObserver)?

  let attributes: DeviceAttributes

  /// The most queue pairs: what a vhost-user connection can name in 8 bits.
  static let maxPairs = 128

  init(_ request: DeviceRequest, worker: (Int) -> Worker) throws {
    try request.parameters.allow(only: ["port", "mac", "mtu"], for: "a software net device")
    let port = try PortConfiguration(parsing: request.parameters["port"] ?? "loopback")
    let count = request.queues ?? 1
    guard (1...SoftwareNetDevice.maxPairs).contains(count) else {
      throw DatapathError(
        .badConfiguration, "\(request.owner): \(count) queue pairs; a net device has 1 to \(SoftwareNetDevice.maxPairs)"
      )
    }
    var features: Features = DeviceRing.features.union([
      .netMergeableBuffers, .netControlQueue, .netControlReceive, .netGuestAnnounce, .netMTU, .netStatus,
    ])
    if count > 1 { features.insert(.netMultiqueue) }
    var mac = MACAddress.zero
    if let text = request.parameters["mac"] {
      guard let parsed = MACAddress(text) else {
        throw DatapathError(.badConfiguration, "\(request.owner): mac=\(text) is not an Ethernet address")
      }
      mac = parsed
      features.insert(.netMAC)
    }
    let mtu = try request.parameters.int("mtu", in: 68...65535) ?? 1500
    configuration = NetConfiguration(mac: mac, maxQueuePairs: UInt16(count), mtu: UInt16(mtu))
    owner = request.owner
    attributes = DeviceAttributes(
      type: .net, features: features, protocolFeatures: [.multiqueue, .replyAck, .memorySlots, .status],
      vringCount: 2 * count, operationsMayBlock: false)
    pairs = (0..<count).map { i in
      NetPair(
        name: "\(request.owner) queue pair \(i)", worker: worker(i), port: port.make(),
        receive: OwnedVring(name: "\(request.owner) vring \(2 * i)"),
        transmit: OwnedVring(name: "\(request.owner) vring \(2 * i + 1)"))
    }
  }

  var capabilities: DeviceCapabilities {
    DeviceCapabilities(
      vringControl: self, configuration: self, statistics: SoftwareNetStatistics(pairs: pairs))
  }

  // MARK: Operations

  func configure(_ setup: DeviceSetup) throws {
    features = setup.features
    memory = setup.memory
    observer = setup.observer
    for pair in pairs { pair.worker.attach(pair) }
    do {
      for vring in setup.vrings { try start(vring) }
    } catch {
      _ = try close()
      throw error
    }
  }

  func close() throws -> [VringState] {
    var states: [VringState] = []
    var failure: (any Error)?
    for (i, pair) in pairs.enumerated() {
      // The transmit ring first: without a receive ring the port might drop what it still takes from the guest.
      for index in [2 * i + 1, 2 * i] {
        do {
          if let state = try stop(index) { states.append(state) }
        } catch {
          // A worker that is stuck in it keeps the vring with its memory; nobody else enters it.
          failure = error
        }
      }
      if failure == nil { pair.worker.detach(pair) }
    }
    if let failure { throw failure }
    memory = nil
    observer = nil
    return states
  }

  func setVring(_ description: VringDescription, enabled: Bool) throws {
    // Before configure nothing runs, and configure repeats it.
    guard memory != nil else { return }
    let isRunning = try change(description.index) { vring, pair, source -> Bool in
      guard var running = vring else { return false }
      if running.kick !== description.kick {
        if let kick = description.kick { try pair.worker.watch(kick, of: pair, source: source) }
        if let kick = running.kick { pair.worker.unwatch(kick) }
      }
      let isNewCall = running.call !== description.call
      running.kick = description.kick
      running.call = description.call
      running.isEnabled = enabled
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
    for index in 0..<attributes.vringCount {
      try change(index) { vring, _, _ in try vring?.move(to: new) }
    }
    memory = new
  }

  // MARK: Vrings

  /// Changes a vring between two bursts.
  private func change<Result>(
    _ index: Int, _ body: (inout NetVring?, NetPair, _ source: Int) throws -> Result
  ) throws -> Result {
    let pair = pairs[index / 2]
    // A worker that met the pair while the vring was closed has passed it over.
    defer { pair.worker.nudge() }
    return try vring(index).change { vring in
      try body(&vring, pair, index % 2 == 1 ? NetPair.transmitSource : NetPair.receiveSource)
    }
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
        setup, features: features, memory: memory, counters: vring(index).counters, observer: observer)
    } catch {
      throw DatapathError(.badVring, "vring \(index) cannot be served: \(error)")
    }
    try change(index) { vring, pair, source in
      if let kick = running.kick {
        do {
          try pair.worker.watch(kick, of: pair, source: source)
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
    try change(index) { vring, pair, _ in
      defer { vring = nil }
      if let kick = vring?.kick { pair.worker.unwatch(kick) }
      return vring?.state
    }
  }
}

extension SoftwareNetDevice: VringControl {
  func stopVring(_ index: Int) throws -> VringState {
    guard let state = try stop(index) else {
      throw DatapathError(.badVring, "vring \(index) is not running, so it cannot be stopped")
    }
    return state
  }
}

extension SoftwareNetDevice: ConfigurationSpace {
  var bytes: [UInt8] { configuration.encoded }
}

/// The counters of a software net device.
private struct SoftwareNetStatistics: DeviceStatistics {
  let pairs: [NetPair]

  var vrings: [VringStatistics] {
    pairs.flatMap { [$0.receive.counters.snapshot, $0.transmit.counters.snapshot] }
  }
}
