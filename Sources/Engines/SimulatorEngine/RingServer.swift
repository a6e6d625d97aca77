internal import VDPA
internal import Virtio

/// All that a device is: its vrings, its view of memory, its state. Belongs to the device's thread, which either runs an
/// operation or serves a burst, so that no operation ever meets a ring that is being worked on.
final class RingServer {
  /// The rings of a queue pair, both started.
  struct Pair {
    /// The guest receives from it: index 2i.
    let receive: ServedVring
    /// The guest sends to it: index 2i + 1.
    let transmit: ServedVring
  }

  let device: Int
  let settings: SimulatorSettings
  let dmaMap: DMAMap
  let board: StatisticsBoard
  let epoll: Epoll

  /// What the device sees of memory. Held here for as long as views of it are used; changed between bursts only.
  var memory = AddressMap.empty { didSet { losses = 0 } }
  /// The vrings that are started, by index.
  var vrings: [Int: ServedVring] = [:]
  /// Those that have a partner.
  var pairs: [Pair] = []
  /// Which vring a registration of a kick descriptor belongs to.
  var kickTokens: [UInt64: Int] = [:]
  var nextToken: UInt64 = 1
  var features: Features = []
  var headerLength = NetHeader.modernLength
  var isMergeable = false
  var observer: (any DeviceObserver)?
  var isConfigured = false
  /// The simulation was stopped by hand.
  var isPaused = false
  /// A range was unmapped and the device has not been told yet that the change is complete: rings may be nowhere.
  var isBetweenMemories = false

  let burst = PacketBurst()
  /// How many mappings had been lost when it was asked last whether one was of this device's memory.
  private var losses: UInt32 = 0
  /// What a source sends, made at the first time and again when the header's length changes.
  var sourceBurst: (packets: PacketBurst, headerLength: Int)?

  init(device: Int, settings: SimulatorSettings, dmaMap: DMAMap, board: StatisticsBoard, epoll: Epoll) {
    self.device = device
    self.settings = settings
    self.dmaMap = dmaMap
    self.board = board
    self.epoll = epoll
  }

  /// Whether rings may be touched.
  var isServing: Bool { isConfigured && !isPaused && !isBetweenMemories && !pairs.isEmpty }

  /// Serves each pair once, a bounded burst each, so that none waits for another one to run dry.
  ///
  /// - Returns: Whether anything could be done.
  func turn() -> Bool {
    guard isServing else { return false }
    var worked = false
    withExtendedLifetime(memory) {
      let view = memory.view
      for pair in pairs where serve(pair, view) { worked = true }
    }
    return worked
  }

  /// Asks the guest for kicks before a sleep, and to do without after it.
  func setWantsKicks(_ wanted: Bool) {
    guard isServing else { return }
    for pair in pairs {
      for vring in [pair.receive, pair.transmit] where !vring.isBroken { vring.ring.setWantsKicks(wanted) }
    }
  }

  /// How long to sleep when there is nothing to do; −1 until something happens.
  var sleepMilliseconds: CInt {
    isServing && pairs.contains { $0.receive.isPolled || $0.transmit.isPolled } ? 1 : -1
  }

  /// The descriptor registered under `token` was written to. Registrations that are gone are passed over.
  func noteKick(token: UInt64) {
    guard let index = kickTokens[token], let vring = vrings[index] else { return }
    vring.statistics.kicks &+= 1
    board[index] = vring.statistics
  }

  /// Takes note of memory that is gone: nothing in it is touched any more, and the observer hears of it.
  private func noteLoss() {
    losses = BusErrorGuard.losses
    guard let loss = memory.loss else { return }
    for vring in vrings.values where !vring.isBroken { leave(vring) }
    observer?.deviceReports(.memoryLost(reason: loss))
  }

  /// Takes note of a ring that is broken now: it is left alone from here on, and the observer hears of it.
  func noteFault(_ vring: ServedVring) {
    // First: what is read from memory that is gone looks like a mistake of the driver.
    if BusErrorGuard.losses != losses { noteLoss() }
    guard vring.ring.fault != .none, !vring.isBroken else { return }
    leave(vring)
    if vring.ring.fault == .unmapped { dmaMap.noteRefusedAccess() }
    observer?.deviceReports(.vringBroken(index: vring.index, reason: vring.ring.fault.description))
  }

  private func leave(_ vring: ServedVring) {
    if vring.ring.fault == .none { vring.ring.setFault(.memoryLost) }
    vring.isBroken = true
    vring.statistics.broken &+= 1
    unwatchKick(vring)
  }
}
