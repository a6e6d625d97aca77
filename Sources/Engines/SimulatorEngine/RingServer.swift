internal import VDPA
internal import Virtio

/// All that a device is: its vrings, its view of memory, its state. Belongs to the device's thread, which either runs an
/// operation or serves a burst, so that no operation ever meets a ring that is being worked on.
final class RingServer {
  let device: Int
  let settings: SimulatorSettings
  let dmaMap: DMAMap
  let board: StatisticsBoard
  let faults: FaultBoard
  let dials: DeviceDials
  /// What a block device reads and writes; nil for a net device.
  let disk: SimulatedDisk?
  /// What the guest writes to instead of kicking; nil when there is none.
  let notifyPages: NotifyPages?
  let epoll: Epoll

  /// What the device sees of memory. Held here for as long as views of it are used; changed between bursts only, with
  /// nothing in flight.
  var memory = AddressMap.empty { didSet { losses = 0 } }
  /// Guest memory as it is: for the way back from what was written to the guest's addresses.
  var guestMemory = GuestMemory.empty
  /// Where writes to guest memory are noted; nil for nowhere.
  var log: DirtyLog?
  /// The vrings that are started, by index.
  var vrings: [Int: ServedVring] = [:]
  /// Those that have all that it takes to serve them.
  var queues: [any ServedQueue] = []
  /// Which vring a registration of a kick descriptor belongs to.
  var kickTokens: [UInt64: Int] = [:]
  var nextToken: UInt64 = 1
  /// The vrings whose doorbell was handed out.
  var doorbells: Set<Int> = []
  var features: Features = []
  var headerLength = NetHeader.modernLength
  var isMergeable = false
  var observer: (any DeviceObserver)?
  var isConfigured = false
  /// Whether it was asked to stand still.
  var isSuspended = false
  /// Whether it has vanished.
  var isGone = false
  /// Whether it has vanished since something was mapped for it.
  var isMapRevoked = false
  /// A range was unmapped and the device has not been told yet that the change is complete: rings may be nowhere.
  var isBetweenMemories = false
  var random: SeededRandom

  let burst = PacketBurst()
  let segments = SegmentList()
  /// How many mappings had been lost when it was asked last whether one was of this device's memory.
  private var losses: UInt32 = 0
  /// What a source sends, made at the first time and again when the header's length changes.
  private var sourceBurst: (packets: PacketBurst, headerLength: Int)?

  init(_ parts: DeviceParts, epoll: Epoll) {
    device = parts.index
    settings = parts.settings
    dmaMap = parts.dmaMap
    board = parts.board
    faults = parts.faults
    dials = parts.dials
    disk = parts.disk
    notifyPages = parts.notifyPages
    self.epoll = epoll
    random = SeededRandom(seed: settings.seed)
  }

  /// Whether rings may be touched.
  var isServing: Bool {
    isConfigured && !isSuspended && !isBetweenMemories && !queues.isEmpty && !faults.isActive(.stall)
  }

  /// For the accesses of a burst.
  var view: MemoryView { memory.view }

  /// Serves each queue once, a bounded burst each, so that none waits for another one to run dry.
  ///
  /// - Returns: Whether anything could be done.
  func turn() -> Bool {
    lookForVanishing()
    guard isServing else { return false }
    let now = MonotonicClock.nanoseconds
    var worked = false
    for queue in queues {
      writeAstray(queue)
      let hasWorked = queue.serve(at: now)
      // Nothing of the device is left then.
      guard !isGone else { return true }
      for vring in queue.vrings { noteFault(vring) }
      if hasWorked || queue.vrings.contains(where: \.isBroken) { queue.vrings.forEach(post) }
      if hasWorked { worked = true }
    }
    return worked
  }

  /// Lets others see the counters of a vring.
  func post(_ vring: ServedVring) { board[vring.index] = vring.statistics }

  /// Asks the guest for kicks before a sleep, and to do without after it.
  func setWantsKicks(_ wanted: Bool) {
    guard isServing else { return }
    for queue in queues {
      for vring in queue.vrings where !vring.isBroken { vring.ring.setWantsKicks(wanted) }
    }
  }

  /// For how many nanoseconds there is nothing to do unless something happens; nil for ever.
  var idleTime: UInt64? {
    guard isServing else { return nil }
    let due = queues.compactMap(\.nextDue).min().map { due in
      let now = MonotonicClock.nanoseconds
      return due > now ? due - now : 0
    }
    let isPolled = queues.contains { $0.vrings.contains(where: \.isPolled) }
    return isPolled ? min(due ?? .max, 1_000_000) : due
  }

  /// The descriptor registered under `token` was written to. Registrations that are gone are passed over.
  func noteKick(token: UInt64) {
    if let index = kickTokens[token] { noteKick(of: index) }
  }

  func noteKick(of index: Int) {
    guard let vring = vrings[index] else { return }
    vring.statistics.kicks &+= 1
    post(vring)
  }

  /// Whether somebody may write to a doorbell of a ring that is served.
  var hasDoorbells: Bool { !doorbells.isEmpty && isServing }

  /// Looks at the doorbells that were handed out.
  ///
  /// - Returns: Whether somebody has written to one.
  func lookAtDoorbells() -> Bool {
    guard hasDoorbells, let notifyPages else { return false }
    var isRung = false
    for index in doorbells where notifyPages.take(index) {
      noteKick(of: index)
      isRung = true
    }
    return isRung
  }

  // MARK: Latency and order

  /// How long a packet or request takes, in nanoseconds.
  var latency: UInt64 { UInt64(dials.latency) * 1000 }

  /// Whether what was fetched first is completed first.
  var isInOrder: Bool { settings.order == .inOrder }

  /// Whether nothing takes time, changes its order, or goes wrong.
  var isPlain: Bool { isInOrder && latency == 0 && !faults.isAny }

  /// When something is due that is fetched now; out of order it may take up to twice as long, and is overtaken.
  func due(from now: UInt64) -> UInt64 {
    let latency = latency
    guard !isInOrder, latency > 0 else { return now &+ latency }
    return now &+ latency &+ UInt64.random(in: 0...latency, using: &random)
  }

  // MARK: What breaks

  /// Takes note of memory that is gone: nothing in it is touched any more, and the observer hears of it.
  private func noteLoss() {
    losses = BusErrorGuard.losses
    let record = vrings.values.lazy.compactMap(\.ring.recordLoss).first
    guard let loss = memory.loss ?? log?.loss ?? record else { return }
    for vring in vrings.values where !vring.isBroken { leave(vring) }
    observer?.deviceReports(.memoryLost(reason: loss))
  }

  /// Takes note of a ring that is broken now: it is left alone from here on, and the observer hears of it.
  func noteFault(_ vring: ServedVring) {
    // First: what is read from memory that is gone looks like a mistake of the driver.
    if BusErrorGuard.losses != losses { noteLoss() }
    noteMiss(vring)
    guard vring.ring.fault != .none, !vring.isBroken else { return }
    leave(vring)
    if vring.ring.fault == .unmapped { dmaMap.noteRefusedAccess() }
    observer?.deviceReports(.vringBroken(index: vring.index, reason: vring.ring.fault.description))
  }

  /// Takes note of a ring that waits for a translation.
  func noteMiss(_ vring: ServedVring) {
    guard let miss = vring.ring.miss, !vring.isMissReported else { return }
    vring.isMissReported = true
    vring.statistics.iotlbMisses &+= 1
    post(vring)
    observer?.deviceReports(.translationMissing(index: vring.index, miss: miss))
  }

  private func leave(_ vring: ServedVring) {
    if vring.ring.fault == .none { vring.ring.setFault(.memoryLost) }
    vring.isBroken = true
    vring.statistics.broken &+= 1
    unwatchKick(vring)
  }

  // MARK: What a source sends

  /// A burst of broadcast frames of the ethertype for local experiments (IEEE 802, 0x88b5), all bytes behind the header
  /// counting up.
  func sourcePackets() -> PacketBurst {
    if let (packets, length) = sourceBurst, length == headerLength { return packets }
    let mac = settings.configuration(device: device, pairs: 1).mac.bytes
    let header = Array(repeating: UInt8(0xff), count: 6) + mac + [0x88, 0xb5]
    let packets = PacketBurst()
    while packets.append(
      length: settings.sourceLength, headerLength: headerLength,
      { payload in
        for i in 0..<payload.count {
          payload[i] = i < header.count ? header[i] : UInt8(truncatingIfNeeded: i - header.count)
        }
      })
    {}
    sourceBurst = (packets, headerLength)
    return packets
  }
}
