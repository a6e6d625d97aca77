internal import VDPA
internal import Virtio

/// A vring that is served by software, with all that any device type does with one. Belongs to whoever owns it at the
/// time.
struct RunningVring {
  let index: Int
  private let layout: RingLayout
  private let addresses: (descriptor: UInt64, avail: UInt64, used: UInt64)
  var ring: DeviceRing
  /// Keeps what `ring` points to alive.
  private(set) var memory: GuestMemory { didSet { view = memory.addressMap.view } }
  /// Of that memory. Asking the map for it in each burst would count references to the map, and each count waits until all
  /// that was written before is in the cache.
  private(set) var view: MemoryView
  var kick: OwnedFD?
  var call: OwnedFD?
  var isEnabled: Bool
  /// Where writes to guest memory are noted; nil for nowhere.
  var log: DirtyLog? { didSet { attachLog() } }
  /// Where those to the device area are.
  var logAddress: UInt64? { didSet { attachLog() } }
  let counters: VringCounters
  /// Whether the guest has been told that it need not kick.
  private var kicksWanted: Bool?
  /// Whether the fault has been reported, and what the ring waits for.
  private var isFaultReported = false
  private var isMissReported = false
  /// How many mappings had been lost when it was asked last whether one was of this memory.
  private var losses: UInt32 = 0

  init(
    _ vring: DeviceSetup.Vring, features: Features, memory: GuestMemory, log: DirtyLog?, counters: VringCounters
  ) throws(VirtioError) {
    let description = vring.description
    index = description.index
    layout = try RingLayout(RingLayout.Format(for: features), size: description.size)
    addresses = (description.descriptor, description.avail, description.used)
    ring = DeviceRing(
      try RunningVring.find(layout, addresses, in: memory), features: features,
      nextAvail: description.state.nextAvail, nextUsed: description.state.nextUsed)
    if let inflight = description.inflight { try ring.resume(with: inflight) }
    self.memory = memory
    view = memory.addressMap.view
    kick = description.kick
    call = description.call
    isEnabled = vring.isEnabled
    self.log = log
    logAddress = description.logAddress
    self.counters = counters
    attachLog()
  }

  private mutating func attachLog() {
    // It may have been lost while nobody looked at it.
    losses = 0
    let (memory, used) = (memory, notedAddress)
    ring.log = log.map { RingLog($0, memory: memory, used: used) }
  }

  /// Under which guest physical address writes to the device area are noted. Behind an IOMMU the front-end names it as the
  /// guest does, and the log knows nothing of that: there it is noted where it is.
  private var notedAddress: UInt64? {
    guard let logAddress else { return nil }
    return memory.isTranslated ? memory.guestAddress(ofDevice: addresses.used) : logAddress
  }

  private static func find(
    _ layout: RingLayout, _ addresses: (descriptor: UInt64, avail: UInt64, used: UInt64), in memory: GuestMemory
  ) throws(VirtioError) -> RingMemory {
    try RingMemory(
      layout, descriptor: addresses.descriptor, avail: addresses.avail, used: addresses.used,
      memory: memory.addressMap.view)
  }

  /// The same ring in another snapshot of guest memory, where it looks again for what it waits for.
  mutating func move(to memory: GuestMemory) throws(VirtioError) {
    ring.move(to: try RunningVring.find(layout, addresses, in: memory))
    self.memory = memory
    isMissReported = false
    attachLog()
  }

  /// Takes over what may change of a ring that runs.
  mutating func update(_ description: VringDescription, isEnabled: Bool) {
    kick = description.kick
    call = description.call
    if logAddress != description.logAddress { logAddress = description.logAddress }
    self.isEnabled = isEnabled
  }

  var state: VringState { VringState(index: index, nextAvail: ring.nextAvail, nextUsed: ring.nextUsed) }

  /// What the driver writes when it announces a chain (virtio 1.2, §2.7.6 and §2.8.1): the available index, or the flags of the
  /// descriptor that is next.
  ///
  /// - Returns: Nil when something is announced, and for a ring that is to be looked at in another way.
  mutating func quietWord() -> QuietLook.Word? {
    // Memory changes before anything is found on it again.
    guard ring.fault == .none, ring.miss == nil else { return .never }
    let address =
      switch layout.format {
      case .split: addresses.avail + 2
      case .packed: addresses.descriptor + UInt64(ring.nextAvail & 0x7fff) * 16 + 14
      }
    var view = view
    // The ring's parts are aligned and inside of mappings that `memory` holds, or there would be no ring.
    guard let place = unsafe view.contiguous(at: address, length: 2, for: .read) else { return nil }
    let word = unsafe QuietLook.Word(at: place)
    // Seen before the ring was found empty, so that what comes in between changes it. What breaks it is for a turn to tell.
    return ring.pending(limit: 1) == 0 && ring.fault == .none ? word : nil
  }

  // MARK: Notifications

  /// Calls the guest for what was announced, if it wants to be called.
  mutating func notify() {
    guard ring.wantsCall() else {
      counters.add(.suppressedCalls, 1)
      return
    }
    guard let call else { return }
    counters.add(EventFD.signal(call) ? .calls : .failedCalls, 1)
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

  // MARK: Reports

  /// Whether the ring is broken, its memory is gone, or it waits for a translation, and nobody has been told yet. After
  /// each burst.
  @inline(__always) mutating func hasReport() -> Bool {
    if BusErrorGuard.losses != losses { lookForLoss() }
    return ring.fault != .none && !isFaultReported || ring.miss != nil && !isMissReported
  }

  /// What the front-end has taken back, in words.
  private var loss: String? { memory.addressMap.loss ?? ring.recordLoss ?? log?.loss }

  private mutating func lookForLoss() {
    losses = BusErrorGuard.losses
    guard ring.fault != .memoryLost, loss != nil else { return }
    // Whatever was found wrong in it before, or only now.
    ring.setFault(.memoryLost)
    isFaultReported = false
  }

  /// What is to be told, once.
  mutating func takeReport() -> DeviceReport? {
    guard hasReport() else { return nil }
    if ring.fault != .none && !isFaultReported {
      isFaultReported = true
      counters.add(.broken, 1)
      guard ring.fault == .memoryLost, let loss else {
        return .vringBroken(index: index, reason: ring.fault.description)
      }
      return .memoryLost(reason: loss)
    }
    isMissReported = true
    counters.add(.translationMisses, 1)
    return ring.miss.map { .translationMissing(index: index, miss: $0) }
  }
}
