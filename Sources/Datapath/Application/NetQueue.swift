internal import Glibc
internal import Synchronization
public import SystemPackage
public import VDPA
public import Virtio

/// A vring of a net device in the hands of the application: takes packets from the guest, or gives packets to it, whole
/// bursts at a time, on a thread of the application's own.
///
/// A queue is there for as long as anybody holds it. Front-ends come and go, rings stop and start, guest memory is exchanged
/// and another device takes over: meanwhile, bursts do nothing and return 0, and ``state`` says why. No burst ever waits for
/// anything, and none touches memory that the guest has taken back.
///
/// A queue is for one thread at a time, but the two queues of a pair can be for different ones. A burst on a queue that
/// another thread is in the middle of a burst on does nothing and is counted (``overlaps``).
public final class NetQueue: Sendable {
  /// Which way packets go.
  public enum Direction: Sendable, Hashable {
    /// To the guest.
    case receive
    /// From the guest.
    case transmit
  }

  /// How a queue stands.
  public enum State: Sendable, Hashable {
    /// No front-end is connected, or it is not ready, or another device serves it.
    case idle
    /// The ring is not started.
    case stopped
    /// The ring is disabled: nothing is given to the guest, and what it sends is dropped (vhost-user, Ring states).
    case disabled
    /// Packets flow.
    case running
    /// The guest has written into the ring what no correct driver writes; it has to be stopped and started again.
    case broken(RingFault)
  }

  /// The vring's index: even to the guest, odd from it.
  public let index: Int
  /// Which way packets go.
  public let direction: Direction
  private let vring: OwnedVring
  private let claim: PairClaim
  private let events: Epoll
  private let change: OwnedFD
  private let overlapping = Atomic<Int>(0)
  /// How many buffers there were when they were too few for a packet; 0 when the last burst found its room.
  private let tooFew = Atomic<Int>(0)

  /// A frame in the guest's name that is to come before what the guest sends, and whether there is one.
  private let announcement = Mutex<[UInt8]?>(nil)
  private let isAnnouncing = Atomic<Bool>(false)

  /// What the descriptors are watched under.
  private static let changeToken: UInt64 = 0
  private static let kickToken: UInt64 = 1

  init(index: Int, direction: Direction, vring: OwnedVring, claim: PairClaim) throws(DatapathError) {
    self.index = index
    self.direction = direction
    self.vring = vring
    self.claim = claim
    do {
      events = try Epoll()
      change = try EventFD.make()
      try events.add(change.descriptor, token: NetQueue.changeToken, interest: .readable)
    } catch {
      throw DatapathError(.system, "a descriptor for \(vring.name) cannot be had: \(error)")
    }
  }

  // MARK: Bursts

  /// Takes packets from the guest, copied into a burst behind those that are there, and returns its buffers to it.
  ///
  /// Packets that no buffer of the burst's pool can hold are dropped and counted. When the guest has arrived here by
  /// migration, the first packet on pair 0 is a broadcast in its name that tells the network (vhost-user, SEND_RARP). Only
  /// for a queue from the guest.
  ///
  /// - Parameters:
  ///   - burst: Where to. Nothing comes while it is full, or its pool empty.
  ///   - limit: The most packets to take.
  /// - Returns: How many packets were added.
  @discardableResult
  public func dequeueBurst(into burst: PacketBurst, limit: Int = PacketBurst.capacity) -> Int {
    precondition(direction == .transmit, "packets are taken from the guest on transmit queues")
    return burstOnVring { vring in
      let announced = isAnnouncing.load(ordering: .relaxed) && limit > 0 ? takeAnnouncement(into: burst) : 0
      return announced + (vring?.take(into: burst, limit: limit - announced) ?? 0)
    }
  }

  /// Gives packets to the guest and takes them out of the burst. Those for which it has no buffers yet stay, in order; those
  /// that can never fit into its buffers are dropped and counted. Only for a queue to the guest.
  ///
  /// - Parameter burst: Whose packets; with a pool or without.
  /// - Returns: How many packets were taken out.
  @discardableResult
  public func enqueueBurst(from burst: PacketBurst) -> Int {
    precondition(direction == .receive, "packets are given to the guest on receive queues")
    return burstOnVring { vring in
      let given = vring?.give(from: burst) ?? 0
      tooFew.store(burst.count > 0 ? vring?.pending() ?? 0 : 0, ordering: .relaxed)
      return given
    }
  }

  /// How many buffers the guest has made available, counted up to ``PacketBurst/capacity``: packets to be taken, or room
  /// for packets (of which one may need several). By the thread that does the bursts.
  public var pending: Int { use { vring in vring?.pending() ?? 0 } ?? 0 }

  /// Does a burst; 0 when there is no ring or it is not this thread's turn.
  @inline(__always) private func burstOnVring(_ body: (inout NetVring?) -> Int) -> Int {
    let count = use { vring in
      // Whoever comes for packets does not have to be kicked.
      vring?.wantKicks(false)
      return body(&vring)
    }
    return count ?? 0
  }

  /// Has the ring; nil when it is being changed, or another thread has it.
  @inline(__always) private func use<Result>(_ body: (inout NetVring?) -> Result) -> Result? {
    var hasReport = false
    let attempt = vring.ownership.attempt { vring in
      defer { hasReport = vring?.hasReport() == true }
      return body(&vring)
    }
    if hasReport { vring.report() }
    switch attempt {
    case .done(let result): return result
    case .closed: return nil
    case .busy:
      overlapping.add(1, ordering: .relaxed)
      return nil
    }
  }

  // MARK: Looking at it

  /// How the queue stands, as of the last change; bursts may do nothing for a moment while it changes.
  public var state: State {
    guard claim.isTaken else { return .idle }
    switch vring.status {
    case .stopped: return .stopped
    case _ where vring.fault != .none: return .broken(vring.fault)
    case .disabled: return .disabled
    case .running: return .running
    }
  }

  /// Whether packets flow.
  public var isRunning: Bool { state == .running }

  /// What has happened on the queue since it was made, for whichever front-ends.
  public var statistics: VringStatistics { vring.counters.snapshot }

  /// How many bursts did nothing because another thread was in the middle of one: mistakes of the application.
  public var overlaps: Int { overlapping.load(ordering: .relaxed) }

  // MARK: Sleeping

  /// A descriptor that becomes readable when the guest has kicked as ``requestWakeup()`` has asked it to, and whenever
  /// ``state`` has changed; until ``acknowledgeWakeup()``. It is the same one for as long as the queue is there; for poll(2)
  /// and epoll(7), not to be read or closed.
  public var wakeup: FileDescriptor { events.descriptor }

  /// Asks the guest to kick when it has made buffers available; the next burst asks it to do without again.
  ///
  /// - Returns: Whether to sleep. If not, there is something to be done already, or the ring has no kick descriptor and is
  ///   to be polled.
  public func requestWakeup() -> Bool {
    if isAnnouncing.load(ordering: .relaxed) { return false }
    switch state {
    case .idle, .stopped, .broken: return true
    // What the guest sends is still to be dropped; to give it anything, there is nothing to wait for but a change.
    case .disabled where direction == .receive: return true
    case .disabled, .running: break
    }
    guard !vring.needsPolling else { return false }
    return use { vring in
      vring?.wantKicks(true)
      // Looked at after asking, or both sides could wait. Buffers that were too few for the next packet still are.
      let pending = vring?.pending() ?? 0
      return pending == 0 || pending == tooFew.load(ordering: .relaxed)
    } ?? false
  }

  /// Makes ``wakeup`` unreadable until the next kick or change.
  public func acknowledgeWakeup() {
    events.wait(milliseconds: 0) { event in
      if event.token == NetQueue.changeToken {
        EventFD.drain(change)
      } else {
        vring.counters.add(.kicks, 1)
      }
    }
  }

  /// Sleeps until there may be something to do: the guest has kicked, or ``state`` has changed.
  ///
  /// - Parameter milliseconds: The longest sleep; −1 without end. A ring that is to be polled is waited for no longer than a
  ///   millisecond.
  public func wait(milliseconds: Int = -1) {
    let isToSleep = requestWakeup()
    guard isToSleep || vring.needsPolling else { return }
    var entry = pollfd(fd: wakeup.rawValue, events: Int16(POLLIN), revents: 0)
    let timeout = isToSleep ? milliseconds : milliseconds < 0 ? 1 : min(milliseconds, 1)
    _ = unsafe poll(&entry, 1, CInt(clamping: timeout))
    acknowledgeWakeup()
  }

  // MARK: The control side

  func watch(_ kick: OwnedFD) throws {
    try events.add(kick.descriptor, token: NetQueue.kickToken, interest: [.readable, .edgeTriggered])
  }

  func unwatch(_ kick: OwnedFD) { events.remove(kick.descriptor) }

  /// Has a frame dequeued next; one that still waits is replaced.
  func announce(_ frame: [UInt8]) {
    announcement.withLock { $0 = frame }
    isAnnouncing.store(true, ordering: .releasing)
    changed()
  }

  /// Whose guest it was has gone.
  func forgetAnnouncement() {
    isAnnouncing.store(false, ordering: .relaxed)
    announcement.withLock { $0 = nil }
  }

  private func takeAnnouncement(into burst: PacketBurst) -> Int {
    announcement.withLock { waiting in
      guard let frame = waiting else { return 0 }
      let isAdded = burst.append(frame)
      // It waits for room, unless there can never be any.
      guard isAdded || frame.count > burst.maxPayloadLength else { return 0 }
      waiting = nil
      isAnnouncing.store(false, ordering: .relaxed)
      vring.counters.addAnnouncement(frame)
      return isAdded ? 1 : 0
    }
  }

  /// Wakes whoever sleeps: the queue has changed.
  func changed() { EventFD.signal(change) }
}
