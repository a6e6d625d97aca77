public import VDPA
public import Virtio

/// A guest without a VM: memory, vrings and their driver, which outlive the connections to the back-ends that serve them.
///
/// A back-end that goes, as `vdpad` does when it is restarted, is followed by the next one with another
/// ``start(over:)``: the same memory, and each vring where it stands. For one thread.
public final class FrontendGuest {
  /// Memory, vrings and their driver.
  package let guest: DriverGuest
  /// What its driver and its devices agree upon.
  public var features: Features { guest.features }
  /// What it shares.
  public var memory: DriverMemory { guest.memory }
  /// Its vrings.
  public var vrings: [DriverVring] { guest.vrings }
  /// Descriptors a vring.
  public var ringSize: Int { guest.ringSize }
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
    do {
      guest = try DriverGuest(
        features: features, vringCount: vringCount, ringSize: ringSize, bufferBytes: bufferBytes,
        regionCount: regionCount, startingAt: start)
    } catch {
      throw VhostUserError(error)
    }
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
      do throws(VringFault) {
        if hasRecord { try vring.takeBack() } else { try vring.resubmit() }
      } catch {
        throw VhostUserError(error)
      }
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
      do { try vring.takeBack() } catch { throw VhostUserError(error) }
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
    guest.wait(milliseconds: milliseconds, orEndOf: frontend?.connection.socket)
  }
}
