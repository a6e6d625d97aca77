internal import VDPA
internal import Virtio

/// A running vring of a net device with all that serving it takes. Belongs to whoever owns it at the time
/// (``OwnedVring``).
struct NetVring {
  private var base: RunningVring
  /// What its guest has negotiated about packets, and what is to be done with those that it sends.
  private var translation: NetTranslation
  /// Whether the guest may ask for something in the headers of its packets.
  private let hasOffloads: Bool
  let headerLength: Int
  let isMergeable: Bool
  /// What its guest takes of what others have sent.
  let receiver: NetGuest
  /// Who hears that the ring is broken.
  let observer: (any DeviceObserver)?

  /// - Parameter configuration: What the guest can read; nil if nobody but the guest itself sends to it.
  init(
    _ vring: DeviceSetup.Vring, features: Features, configuration: NetConfiguration? = nil, memory: GuestMemory,
    log: DirtyLog? = nil, counters: VringCounters, observer: (any DeviceObserver)? = nil
  ) throws(VirtioError) {
    base = try RunningVring(vring, features: features, memory: memory, log: log, counters: counters)
    hasOffloads = !features.isDisjoint(with: .netHostOffloads)
    let guest = NetGuest(features: features)
    translation = NetTranslation(sender: guest)
    receiver = configuration.map { NetGuest(features: features, configuration: $0) } ?? guest
    headerLength = NetHeader.length(for: features)
    isMergeable = features.contains(.netMergeableBuffers)
    self.observer = observer
  }

  var index: Int { base.index }
  var state: VringState { base.state }
  var counters: VringCounters { base.counters }
  var kick: OwnedFD? {
    get { base.kick }
    set { base.kick = newValue }
  }
  var call: OwnedFD? { base.call }
  var isEnabled: Bool {
    @inline(__always) get { base.isEnabled }
    set { base.isEnabled = newValue }
  }

  /// Where writes to guest memory are noted; nil for nowhere.
  var log: DirtyLog? {
    get { base.log }
    set { base.log = newValue }
  }

  /// Takes over what may change of a ring that runs.
  mutating func update(_ description: VringDescription, isEnabled: Bool) {
    base.update(description, isEnabled: isEnabled)
  }

  /// The same ring in another snapshot of guest memory.
  mutating func move(to memory: GuestMemory) throws(VirtioError) { try base.move(to: memory) }

  // MARK: Bursts

  /// How many buffers the guest offers, counted up to a burst.
  @inline(__always) mutating func pending() -> Int { base.ring.pending() }

  /// How many buffers the guest offers at most, counted up to a burst; quicker than ``pending()``.
  mutating func room() -> Int { base.ring.pendingAtMost(PacketBurst.capacity) }

  /// Whether the guest has given anything that was not fetched yet.
  @inline(__always) mutating func hasPending() -> Bool { base.ring.hasPending() }

  /// What the guest writes when it offers a buffer; nil when it has offered one.
  mutating func quietWord() -> QuietLook.Word? { base.quietWord() }

  /// Where the next buffer is returned: whether anything was given shows by its change.
  @inline(__always) var nextUsed: UInt16 { base.ring.nextUsed }

  /// Takes packets from the guest into a burst, behind those that are there. They are to be completed.
  private mutating func fetch(into burst: PacketBurst, limit: Int) -> Int {
    base.ring.dequeueBurst(
      into: burst, limit: limit, memory: base.view, headerLength: headerLength,
      // Without offloads nothing is asked for, whatever a driver has left there.
      keepsHeaders: hasOffloads)
  }

  /// Takes packets from the guest into a burst of which nothing is needed any more, and checks their headers.
  mutating func dequeue(into burst: PacketBurst, limit: Int) -> Int {
    burst.clear()
    let taken = fetch(into: burst, limit: limit)
    if hasOffloads { translation.inbound(burst) }
    return taken
  }

  /// Whether a packet that was just taken asks for nothing: it is complete as it is.
  func isPlain(_ packet: Int) -> Bool { translation.isPlain(packet) }

  /// Which of the packets that were just taken are to be dropped for what their headers say, by their bits.
  var invalid: NetTranslation.Packets { translation.dropped }

  /// Which of them leave something to be done, by their bits.
  var unfinished: NetTranslation.Packets { translation.offloaded }

  /// Gives the packets that were just taken to a guest, in the form in which it takes them.
  ///
  /// - Parameters:
  ///   - receiver: Where to.
  ///   - segments: A second burst; it is overwritten.
  /// - Returns: What has become of them. Those that are not finished are to be put back.
  mutating func forward(
    _ burst: PacketBurst, to receiver: inout NetVring?, through segments: PacketBurst
  ) -> NetTranslation.Progress {
    guard let guest = receiver?.translation.sender else { return NetTranslation.Progress() }
    let (memory, next) = (base.ring.memory, base.ring.nextAvail)
    return translation.outbound(
      burst, chain: { memory.position(of: $0, in: burst, nextAvail: next) }, to: guest, through: segments
    ) {
      receiver?.enqueue($0, keepsHeaders: true) ?? 0
    }
  }

  /// Returns the first `count` of `taken` packets to the guest as sent and puts the others back.
  mutating func complete(_ burst: PacketBurst, count: Int, taken: Int) {
    if taken > count { base.ring.giveBack(burst, first: count) }
    let invalid = translation.droppedCount(of: count)
    if invalid > 0 {
      for i in 0..<count where translation.isDropped(i) { burst.markInvalid(i) }
      counters.add(.invalidHeaders, invalid)
      counters.add(.dropped, invalid)
    }
    complete(burst, first: 0, count: count)
  }

  /// Returns packets to the guest as sent.
  ///
  /// - Returns: How many of them were too long to be copied.
  @discardableResult private mutating func complete(_ burst: PacketBurst, first: Int, count: Int) -> Int {
    base.ring.complete(burst, first: first, count: count)
    guard count > 0 else { return 0 }
    let tally = burst.tallyTaken(first: first, count: count)
    counters.add(tally)
    base.notify()
    return tally.oversized
  }

  /// Takes packets from the guest into a burst, behind those that are there, and returns them as sent. On a disabled ring
  /// they are dropped.
  ///
  /// - Returns: How many there are more in the burst.
  mutating func take(into burst: PacketBurst, limit: Int) -> Int {
    let first = burst.count
    guard isEnabled else {
      _ = discard(burst)
      return 0
    }
    let taken = fetch(into: burst, limit: limit)
    if burst.takeStarved() { counters.add(.allocationFailures, 1) }
    if complete(burst, first: first, count: taken) > 0 {
      burst.filter { $0 < first || burst[$0].outcome != .oversized }
    }
    return burst.count - first
  }

  /// Gives packets to the guest.
  ///
  /// - Parameter keepsHeaders: Whether the headers are meant for this guest; if not, the packets are complete and go
  ///   behind headers of zeros.
  /// - Returns: How many were given or cannot be given at all; the others wait for buffers.
  mutating func enqueue(_ burst: PacketBurst, keepsHeaders: Bool = false) -> Int {
    let before = base.ring.nextUsed
    if !keepsHeaders {
      burst.setHeaderLength(headerLength)
      burst.clearHeaders(length: headerLength)
    }
    let count = base.ring.enqueueBurst(
      from: burst, first: 0, memory: base.view, headerLength: headerLength, mergeable: isMergeable)
    counters.add(burst.tallyGiven(count: count))
    if base.ring.nextUsed != before { base.notify() }
    return count
  }

  /// Gives packets to the guest and takes them out of the burst, with those that cannot be given at all; the others wait
  /// for buffers. A disabled ring takes none.
  ///
  /// - Returns: How many there are less in the burst.
  mutating func give(from burst: PacketBurst) -> Int {
    guard isEnabled else { return 0 }
    let count = enqueue(burst)
    burst.removeFirst(count)
    return count
  }

  /// Takes packets from the guest and drops them, as a disabled ring must (vhost-user, Ring states).
  mutating func discard(_ burst: PacketBurst) -> Int {
    let first = burst.count
    translation.forget()
    let taken = fetch(into: burst, limit: PacketBurst.capacity)
    base.ring.complete(burst, first: first, count: taken)
    burst.removeLast(taken)
    if taken > 0 {
      counters.add(.dropped, taken)
      base.notify()
    }
    return taken
  }

  // MARK: Notifications

  /// Calls the guest whatever it asked for: after a change of descriptors or of the owner it might wait for a call that
  /// went to nobody.
  func callOnce() { base.callOnce() }

  /// Asks the guest for kicks or to do without, once a change.
  mutating func wantKicks(_ wanted: Bool) { base.wantKicks(wanted) }

  // MARK: Reports

  /// Whether the ring is broken, its memory is gone, or it waits for a translation, and nobody has been told yet. After
  /// each burst.
  @inline(__always) mutating func hasReport() -> Bool { base.hasReport() }

  /// What is to be told, once.
  mutating func takeReport() -> DeviceReport? { base.takeReport() }

  /// Whether the ring waits for the translation of an address: nothing is fetched meanwhile.
  mutating func isWaiting() -> Bool { base.ring.miss != nil }

  /// Why the ring is broken.
  var fault: RingFault { base.ring.fault }
}
