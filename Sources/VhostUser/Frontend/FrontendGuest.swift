internal import Glibc
public import VDPA
public import Virtio

/// A guest without a VM: memory, vrings and their driver, which outlive the connections to the back-ends that serve them.
///
/// A back-end that goes, as `vdpad` does when it is restarted, is followed by the next one with another
/// ``start(over:)``: the same memory, and each vring where it stands. For one thread.
public final class FrontendGuest {
  /// What its driver and its devices agree upon.
  public let features: Features
  /// What it shares.
  public let memory: FrontendMemory
  /// Its vrings.
  public let vrings: [FrontendVring]
  /// Descriptors a vring.
  public let ringSize: Int
  /// Who serves it; nil before the first start, and after a stop.
  public private(set) var frontend: Frontend?
  /// Where its back-ends keep what they have in flight, from the first one that does so on.
  public private(set) var inflight: FrontendInflight?

  /// Makes a guest.
  ///
  /// - Parameters:
  ///   - features: What was negotiated: every later back-end has to offer it.
  ///   - vringCount: How many vrings; for net two a queue pair.
  ///   - ringSize: Descriptors a vring.
  ///   - bufferBytes: How much memory it has for buffers.
  ///   - regionCount: In how many regions its memory is.
  ///   - start: The position at which the vrings start; nil for the beginning.
  /// - Throws: ``VhostUserError`` `system`.
  public init(
    features: Features, vringCount: Int, ringSize: Int = 256, bufferBytes: Int, regionCount: Int = 1,
    startingAt start: UInt16? = nil
  ) throws(VhostUserError) {
    self.features = features
    self.ringSize = ringSize
    let layout: RingLayout
    do throws(VirtioError) {
      layout = try RingLayout(RingLayout.Format(for: features), size: ringSize)
    } catch {
      throw VhostUserError(.system, error.message)
    }
    // A piece is in one region: what is left over at the end of each is at most one vring's.
    let regionCount = max(regionCount, 1)
    let ringBytes = FrontendVring.bytes(layout)
    let share = (vringCount * ringBytes + bufferBytes) / regionCount + ringBytes
    memory = try FrontendMemory(regionSizes: Array(repeating: share, count: regionCount))
    var vrings: [FrontendVring] = []
    for index in 0..<vringCount {
      vrings.append(
        try FrontendVring(index: index, size: ringSize, in: memory, features: features, startingAt: start))
    }
    self.vrings = vrings
  }

  /// Has a back-end serve it, from where its vrings stand.
  ///
  /// What a back-end before has left behind is made available anew; where back-ends keep a record of what they have in flight
  /// (`INFLIGHT_SHMFD`), the rings are left as they are, and the record goes from one to the next.
  ///
  /// - Parameter frontend: It has negotiated ``features``, and nothing is shared yet.
  /// - Throws: ``VhostUserError`` `notNegotiated`, when the features are others; or as every request.
  public func start(over frontend: Frontend) throws(VhostUserError) {
    self.frontend = nil
    guard frontend.features == features else {
      throw VhostUserError(
        .notNegotiated,
        "feature bits \(frontend.features.symmetricDifference(features).bits) are not as they were for this guest"
      ).with(socket: frontend.connection.name)
    }
    let hasRecord = frontend.protocolFeatures.contains(.inflightSharedMemory)
    if hasRecord {
      let record =
        if let inflight {
          inflight
        } else {
          try frontend.makeInflight(vringCount: vrings.count, ringSize: ringSize)
        }
      inflight = record
      try frontend.setInflight(record)
    }
    let known = Set(frontend.regions.map(\.region))
    let missing = memory.regions.filter { !known.contains($0.region) }
    if !missing.isEmpty { try frontend.share(missing) }
    for vring in vrings {
      if hasRecord { try vring.takeBack() } else { try vring.resubmit() }
      try frontend.start(vring.description)
    }
    try frontend.setStatus([.acknowledge, .driver, .featuresOK, .driverOK])
    // What was there before is found without a kick, but that is only what a back-end should do.
    for vring in vrings { EventFD.signal(vring.kick) }
    try frontend.synchronize()
    self.frontend = frontend
  }

  /// Stops all vrings. What is in them stays there for the next start.
  ///
  /// - Returns: Where they stand.
  /// - Throws: ``VhostUserError`` `backendFault`, when a vring does not stand where the back-end says; or as every request.
  @discardableResult
  public func stop() throws(VhostUserError) -> [VringState] {
    guard let frontend else { return [] }
    self.frontend = nil
    var states: [VringState] = []
    for vring in vrings {
      let state = try frontend.stop(vring: vring.index)
      try vring.takeBack()
      let position = vring.description.state
      guard state == position else {
        throw VhostUserError(
          .backendFault, "the back-end says that it stands at \(state.nextAvail), the ring at \(position.nextAvail)"
        ).with(ring: vring.index).with(socket: frontend.connection.name)
      }
      states.append(state)
    }
    return states
  }

  /// Sleeps until a device calls, a ring is found broken, the back-end goes, or the time has passed.
  ///
  /// - Parameter milliseconds: How long.
  public func wait(milliseconds: Int) {
    var entries = vrings.flatMap { [$0.call, $0.error] }.map {
      pollfd(fd: $0.rawValue, events: Int16(POLLIN), revents: 0)
    }
    if let socket = frontend?.connection.socket {
      // That the back-end has gone is reported without asking.
      entries.append(pollfd(fd: socket.rawValue, events: 0, revents: 0))
    }
    let count = nfds_t(entries.count)
    _ = unsafe poll(&entries, count, CInt(clamping: milliseconds))
    for vring in vrings { vring.takeCalls() }
  }
}
