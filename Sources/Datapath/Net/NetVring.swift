internal import VDPA
internal import Virtio

/// A running vring of a net device with all that serving it takes. Belongs to whoever owns it at the time
/// (``OwnedVring``).
struct NetVring {
  let index: Int
  let format: RingLayout.Format
  let size: Int
  let addresses: (descriptor: UInt64, avail: UInt64, used: UInt64)
  var ring: DeviceRing
  /// Keeps what `ring` points to alive.
  var memory: GuestMemory
  var kick: OwnedFD?
  var call: OwnedFD?
  var isEnabled: Bool
  let headerLength: Int
  let isMergeable: Bool
  let counters: VringCounters
  /// Who hears that the ring is broken.
  let observer: (any DeviceObserver)?
  /// Whether the guest has been told that it need not kick.
  private var kicksWanted: Bool?
  /// Whether the fault has been reported.
  private var isFaultReported = false

  init(
    _ vring: DeviceSetup.Vring, features: Features, memory: GuestMemory, counters: VringCounters,
    observer: (any DeviceObserver)? = nil
  ) throws {
    let description = vring.description
    index = description.index
    size = description.size
    addresses = (description.descriptor, description.avail, description.used)
    format = RingLayout.Format(for: features)
    ring = DeviceRing(
      try NetVring.area(format, size: size, addresses: addresses, memory: memory), features: features,
      nextAvail: description.state.nextAvail, nextUsed: description.state.nextUsed)
    self.memory = memory
    kick = description.kick
    call = description.call
    isEnabled = vring.isEnabled
    headerLength = NetHeader.length(for: features)
    isMergeable = features.contains(.netMergeableBuffers)
    self.counters = counters
    self.observer = observer
  }

  private static func area(
    _ format: RingLayout.Format, size: Int, addresses: (descriptor: UInt64, avail: UInt64, used: UInt64),
    memory: GuestMemory
  ) throws -> RingMemory {
    try RingMemory(
      RingLayout(format, size: size), descriptor: addresses.descriptor, avail: addresses.avail, used: addresses.used,
      memory: memory.addressMap.view)
  }

  /// The same ring in another snapshot of guest memory.
  mutating func move(to memory: GuestMemory) throws {
    ring.memory = try NetVring.area(format, size: size, addresses: addresses, memory: memory)
    self.memory = memory
  }

  var state: VringState { VringState(index: index, nextAvail: ring.nextAvail, nextUsed: ring.nextUsed) }

  // MARK: Bursts

  /// How many buffers the guest offers.
  @inline(__always) mutating func pending() -> Int { ring.pending() }

  /// Takes packets from the guest into an empty burst.
  mutating func dequeue(into burst: PacketBurst, limit: Int) -> Int {
    burst.clear()
    return ring.dequeueBurst(into: burst, limit: limit, memory: memory.addressMap.view, headerLength: headerLength)
  }

  /// Returns the first `count` of `taken` packets to the guest as sent and puts the others back.
  mutating func complete(_ burst: PacketBurst, count: Int, taken: Int) {
    ring.complete(burst, first: 0, count: count)
    if taken > count { ring.giveBack(burst, first: count) }
    guard count > 0 else { return }
    var bytes = 0
    var oversized = 0
    for i in 0..<count {
      let slot = burst[i]
      bytes &+= slot.length &- headerLength
      if slot.outcome == .oversized {
        oversized &+= 1
        bytes &+= headerLength
      }
    }
    counters.add(.packets, count - oversized)
    counters.add(.bytes, bytes)
    if oversized > 0 {
      counters.add(.oversized, oversized)
      counters.add(.dropped, oversized)
    }
    notify()
  }

  /// Gives packets to the guest.
  ///
  /// - Returns: How many were given or cannot be given at all; the others wait for buffers.
  mutating func enqueue(_ burst: PacketBurst) -> Int {
    let before = ring.nextUsed
    // No offload has been negotiated, so nothing that a header could say holds for the one who gets it.
    burst.clearHeaders(length: headerLength)
    let count = ring.enqueueBurst(
      from: burst, first: 0, memory: memory.addressMap.view, headerLength: headerLength, mergeable: isMergeable)
    var packets = 0
    var bytes = 0
    var undeliverable = 0
    for i in 0..<count {
      let slot = burst[i]
      switch slot.outcome {
      case .delivered:
        packets &+= 1
        bytes &+= slot.length &- headerLength
      case .undeliverable: undeliverable &+= 1
      case .pending, .oversized: break
      }
    }
    if packets > 0 {
      counters.add(.packets, packets)
      counters.add(.bytes, bytes)
    }
    if undeliverable > 0 {
      counters.add(.oversized, undeliverable)
      counters.add(.dropped, undeliverable)
    }
    if ring.nextUsed != before { notify() }
    return count
  }

  /// Takes packets from the guest and drops them, as a disabled ring must (vhost-user, Ring states).
  mutating func discard(_ burst: PacketBurst) -> Int {
    let taken = dequeue(into: burst, limit: PacketBurst.capacity)
    ring.complete(burst, first: 0, count: taken)
    if taken > 0 {
      counters.add(.dropped, taken)
      notify()
    }
    return taken
  }

  // MARK: Notifications

  private mutating func notify() {
    guard ring.wantsCall() else {
      counters.add(.suppressedCalls, 1)
      return
    }
    guard let call else { return }
    EventFD.signal(call)
    counters.add(.calls, 1)
  }

  /// Calls the guest whatever it asked for: after a change of descriptors or of the owner it might wait for a call that
  /// went to nobody.
  func callOnce() {
    if let call { EventFD.signal(call) }
  }

  /// Asks the guest for kicks or to do without, once a change.
  mutating func wantKicks(_ wanted: Bool) {
    guard kicksWanted != wanted, ring.fault == .none else { return }
    ring.setWantsKicks(wanted)
    kicksWanted = wanted
  }

  /// Whether the ring is broken and nobody has asked why yet. A function that may change the vring, because asking an
  /// optional one for a value copies all of it.
  @inline(__always) mutating func hasNewFault() -> Bool { ring.fault != .none && !isFaultReported }

  /// The reason why the ring is broken, the first time it is asked for.
  mutating func takeFault() -> RingFault? {
    guard hasNewFault() else { return nil }
    isFaultReported = true
    counters.add(.broken, 1)
    return ring.fault
  }
}
