import VDPA
import Virtio

/// What a front-end has said about one vring, and the two axes of its state: started or stopped, enabled or disabled
/// (vhost-user, Ring states).
struct SessionVring {
  let index: Int
  /// SET_VRING_NUM; nil before.
  var size: Int?
  /// SET_VRING_ADDR, in the front-end's address space; nil before.
  var addresses: VringAddressPayload?
  /// Where to go on: SET_VRING_BASE, and where the device stood when it was stopped; nil for the beginning.
  var nextAvail: UInt16?
  var kick: OwnedFD?
  var call: OwnedFD?
  var error: OwnedFD?
  /// Whether `call` stands for messages, for the front-end has given none (INBAND_NOTIFICATIONS).
  var isCallInternal = false
  var isEnabled = false
  /// Whether it is started: from SET_VRING_KICK to GET_VRING_BASE.
  private(set) var isStarted = false
  /// The whole vring as devices see it; nil while it is stopped, or waits for translations.
  private(set) var started: VringDescription?
  /// Why nobody can go on with it, until it is started anew; nil when somebody can.
  private(set) var loss: String?
  /// What a started ring waits for that no device can have yet.
  private(set) var waiting: WaitingRing?
  /// The format that it was started in last.
  private var format = RingLayout.Format.split
  /// The address space that it was started in last.
  private var addressing = RingAddressing.user
  /// Where its device notes what is in flight.
  private var inflight: InflightRecord?

  init(index: Int) { self.index = index }

  /// What a device is given.
  var setup: DeviceSetup.Vring? { started.map { DeviceSetup.Vring($0, isEnabled: isEnabled) } }

  /// Under which guest physical addresses writes to the device area of a started ring are noted; nil when they are not.
  var notedArea: (address: UInt64, length: UInt64)? {
    guard isStarted, let size, let address = logAddress, let layout = try? RingLayout(format, size: size) else {
      return nil
    }
    return (address, UInt64(layout.usedBytes))
  }

  /// Starts the ring, or takes over what may change while it is started.
  ///
  /// - Parameters:
  ///   - features: What the front-end has accepted.
  ///   - addressing: How it names the ring's parts.
  ///   - isArriving: Whether guest memory may lack pages that are still on their way.
  ///   - inflight: Where the device is to note what is in flight.
  /// - Throws: `.outOfState`, naming what is missing, or when the in-flight record is for other rings; `.malformed`, when
  ///   size or position are none of the format's; `.badMemory`, when a part of the ring is not in guest memory.
  mutating func start(
    in memory: GuestMemory, features: Features, addressing: RingAddressing = .user, isArriving: Bool = false,
    inflight: InflightRecord? = nil
  ) throws(VhostUserError) {
    if isStarted {
      if var running = started {
        (running.kick, running.call, running.error, running.logAddress) = (kick, call, error, logAddress)
        started = running
      }
      return
    }
    guard size != nil, addresses != nil else {
      let missing = size == nil ? FrontendRequest.setVringNum : FrontendRequest.setVringAddress
      throw VhostUserError(.outOfState, "the vring is started before \(missing)").with(ring: index)
    }
    format = RingLayout.Format(for: features)
    self.addressing = addressing
    self.inflight = inflight
    try find(in: memory, isArriving: isArriving)
    isStarted = true
  }

  /// Finds the ring in memory, from where it stands on; a part that is not translated is waited for.
  ///
  /// - Parameter isArriving: Whether memory is still on its way (postcopy).
  mutating func find(in memory: GuestMemory, isArriving: Bool) throws(VhostUserError) {
    guard let size, let addresses, loss == nil else { return }
    started = nil
    waiting = waits(in: memory)
    guard waiting == nil else { return }
    let (descriptor, avail, used) = try translate(addresses, size: size, in: memory)
    let state = try position(size: size, used: used, in: memory, isArriving: isArriving)
    let record = try inflight.map { (record) throws(VhostUserError) in try part(of: record, size: size) }
    started = VringDescription(
      index: index, size: size, descriptor: descriptor, avail: avail, used: used, state: state, kick: kick, call: call,
      error: error, inflight: record, logAddress: logAddress)
  }

  private func part(of record: InflightRecord, size: Int) throws(VhostUserError) -> InflightQueue {
    do throws(VirtioError) {
      return try InflightQueue(record, index: index, ring: RingLayout(format, size: size))
    } catch {
      throw VhostUserError(.outOfState, "\(error)").with(ring: index)
    }
  }

  /// The parts of the ring, where the front-end says that they are; none before it has.
  private var parts: [RingLayout.Part] {
    guard let size, let addresses, let layout = try? RingLayout(format, size: size) else { return [] }
    return layout.parts(descriptor: addresses.descriptor, avail: addresses.available, used: addresses.used)
  }

  /// The addresses of the parts as the front-end names them.
  var addressRanges: [ClosedRange<UInt64>] {
    parts.map { part in
      let last = part.address.addingReportingOverflow(UInt64(part.length - 1))
      return part.address...(last.overflow ? .max : last.partialValue)
    }
  }

  /// What the ring would wait for in that memory; nil for nothing.
  func waits(in memory: GuestMemory) -> WaitingRing? {
    addressing.mayWait(in: memory) ? WaitingRing(index, parts, in: memory.addressMap) : nil
  }

  /// The device has let go of the ring, which loses a part in that memory.
  mutating func wait(in memory: GuestMemory) {
    started = nil
    waiting = waits(in: memory)
  }

  private var logAddress: UInt64? { addresses.flatMap { $0.logsUsedRing ? $0.log : nil } }

  private func position(
    size: Int, used: UInt64, in memory: GuestMemory, isArriving: Bool
  ) throws(VhostUserError) -> VringState {
    switch format {
    case .split where isArriving:
      // A look would wait for the page. The source has stopped the ring with nothing in flight.
      return VringState(index: index, nextAvail: nextAvail ?? 0, nextUsed: nextAvail ?? 0)
    case .split:
      // What was announced as used before is in guest memory and nowhere else; the driver may be behind it.
      var view = memory.addressMap.view
      guard let nextUsed = view.readUInt16(at: used + 2) else {
        throw VhostUserError(.badMemory, "the used ring cannot be read").with(ring: index)
      }
      return VringState(index: index, nextAvail: nextAvail ?? 0, nextUsed: nextUsed)
    case .packed:
      // Front-ends differ in what they say of the used position, but nothing was in flight when a ring stopped.
      let next = nextAvail ?? format.start
      guard Int(next & 0x7fff) < size else {
        throw VhostUserError(.malformed, "position \(next & 0x7fff) is not in a ring of \(size) descriptors")
          .with(ring: index)
      }
      return VringState(index: index, nextAvail: next, nextUsed: next)
    }
  }

  /// What GET_VRING_BASE answers: where the ring stands (vhost-user, Vring base; packed: available position in the low
  /// half, used position in the high half).
  ///
  /// - Parameter format: The one that was agreed upon; the ring may never have been started.
  func base(in format: RingLayout.Format) -> UInt32 {
    switch format {
    case .split: return UInt32(nextAvail ?? 0)
    case .packed:
      let next = UInt32(nextAvail ?? RingLayout.packedStart)
      return next | next << 16
    }
  }

  /// Stops the ring; it can be started again from where it stands.
  mutating func stop() {
    if let started { nextAvail = started.state.nextAvail }
    (isStarted, started, waiting, inflight, loss) = (false, nil, nil, nil, nil)
  }

  /// Nobody knows where it stands: no device gets it before it is started anew.
  mutating func lose(_ reason: String) { (started, waiting, loss) = (nil, nil, reason) }

  /// Takes over where a device says that it stands.
  mutating func update(_ state: VringState) {
    started?.state = state
    nextAvail = state.nextAvail
  }

  /// Checks that a started ring is where it was when guest memory is replaced. Behind an IOMMU it may wait.
  ///
  /// - Throws: `.outOfState`, when it would not be.
  func check(in memory: GuestMemory) throws(VhostUserError) {
    guard let started, let addresses, !addressing.mayWait(in: memory) else { return }
    let moved = try translate(addresses, size: started.size, in: memory)
    guard moved == (started.descriptor, started.avail, started.used) else {
      throw VhostUserError(.outOfState, "guest memory moves the vring while it is started").with(ring: index)
    }
  }

  private func translate(
    _ addresses: VringAddressPayload, size: Int, in memory: GuestMemory
  ) throws(VhostUserError) -> (descriptor: UInt64, avail: UInt64, used: UInt64) {
    do throws(VirtioError) {
      let parts = try RingLayout(format, size: size).parts(
        descriptor: addresses.descriptor, avail: addresses.available, used: addresses.used)
      func find(_ part: RingLayout.Part) throws(VirtioError) -> UInt64 {
        guard let guest = addressing.resolve(part.address, length: UInt64(part.length), in: memory) else {
          throw VirtioError(
            .badRingAddress,
            "the \(part.name) at 0x\(String(part.address, radix: 16)) (\(part.length) bytes) is not inside one memory region"
          )
        }
        // The features, and with them the format, may have changed since the addresses came.
        guard guest % part.alignment == 0 else {
          throw VirtioError(
            .badRingAddress,
            "the \(part.name) at the guest's address 0x\(String(guest, radix: 16)) is not aligned to \(part.alignment) bytes"
          )
        }
        return guest
      }
      return (try find(parts[0]), try find(parts[1]), try find(parts[2]))
    } catch {
      throw VhostUserError(.badMemory, "\(error)").with(ring: index)
    }
  }
}
