internal import Synchronization
internal import VDPA
internal import Virtio

/// A ring of a device that is served chain by chain: what a worker serves.
///
/// Chains are handed to the device in turns of the worker and come back on any thread, through an inbox that the worker
/// empties; only the worker touches the ring.
final class ChainQueue: WorkerClient {
  /// What the worker works on.
  private struct State {
    var vring: RunningVring?
    var observer: (any DeviceObserver)?
    /// Nothing new is fetched: the ring is to stop, or memory to change, when all chains are back.
    var isDraining = false
    var isInOrder = false
    /// What the device was last told.
    var areWakeupsWanted = true
    /// The chains that are with the device, in the order fetched, as far as order matters.
    var order: [ChainRequest] = []
    /// How many chains are with the device, and how many descriptors of the ring they take.
    var inFlight = 0
    var outstanding = 0
    /// How many pieces of memory their buffers are.
    var held = 0
    let segments = SegmentList()
    /// What has come back, while it is looked at.
    var back: [ChainRequest] = []
    /// Requests that came back and may stand for others.
    var spare: [ChainRequest] = []
    /// How many chains are still to be given to the device that it had before: a ring that is drained does them too.
    /// Mutating, or all of the state would be copied to ask it.
    var resubmissions: Int {
      mutating get { vring?.isEnabled == true ? vring?.ring.resubmissions ?? 0 : 0 }
    }
  }

  /// What the device is done with and the ring does not know of yet.
  private struct Inbox {
    var finished: [ChainRequest] = []
    /// Whether the worker will look into it by itself.
    var isWatched = false
  }

  let name: String
  let index: Int
  private let place: WorkerHome
  let counters = VringCounters()
  private let device: any SoftwareDevice
  private let ownership: BurstOwnership<State>
  private let inbox = Mutex(Inbox())
  private let finished: OwnedFD
  private let isWithoutKick = Atomic<Bool>(false)
  /// Changed when the last chain came back to a queue that is drained.
  private let drained = FutexWord()

  /// What the descriptors are watched under.
  private static let kickSource = 0
  private static let finishedSource = 1
  private static let deviceSource = 2
  /// The most requests that are kept to stand for others.
  private static let maxSpare = 256
  /// The most chains that are fetched in a turn.
  private static let burst = 32
  /// How many pieces of memory the chains may be that are with the device, unless the ring is a large one: 1 MiB of lists.
  private static let maxHeld = 65_536

  init(name: String, index: Int, device: any SoftwareDevice, worker: Worker) throws {
    self.name = name
    self.index = index
    self.device = device
    place = WorkerHome(worker)
    finished = try EventFD.make()
    ownership = BurstOwnership(State())
  }

  // MARK: The worker

  var home: WorkerHome? { place }

  var needsPolling: Bool { isWithoutKick.load(ordering: .relaxed) }

  func woken(by source: Int) {
    if source == ChainQueue.kickSource { counters.add(.kicks, 1) }
  }

  func serve(_ burst: PacketBurst, isPolled: Bool) -> Int {
    let turn = ownership.burst { state -> (work: Int, hasReport: Bool) in
      state.vring?.wantKicks(false)
      self.wantWakeups(false, &state)
      var work = self.turn(&state)
      if work == 0 && !isPolled {
        state.vring?.wantKicks(true)
        self.wantWakeups(true, &state)
        work = self.turn(&state)
      }
      return (work, state.vring?.hasReport() == true)
    }
    guard let turn else { return 0 }
    if turn.hasReport { report() }
    return turn.work
  }

  /// Has the device tell of what has finished, or do without, once a change.
  @inline(__always) private func wantWakeups(_ wanted: Bool, _ state: inout State) {
    // A queue that is stopped may be gone in the device.
    guard state.vring != nil, state.areWakeupsWanted != wanted else { return }
    device.wantWakeups(wanted, queue: index)
    state.areWakeupsWanted = wanted
  }

  private func turn(_ state: inout State) -> Int {
    inbox.withLock { $0.isWatched = true }
    var work = fetch(&state)
    if state.vring != nil { work += device.service(queue: index) }
    while true {
      // The two lists change places, so that neither is allocated anew.
      inbox.withLock { inbox in
        if inbox.finished.isEmpty { inbox.isWatched = false }
        swap(&inbox.finished, &state.back)
      }
      if state.back.isEmpty { break }
      work += state.back.count
      putBack(&state)
    }
    return work
  }

  /// Hands chains to the device.
  private func fetch(_ state: inout State) -> Int {
    var count = 0
    var visits = 0
    let segments = state.segments
    let resubmissions = state.resubmissions
    // A thousand heads of one long table are a thousand times its pieces: a guest gets so much memory and time and no more.
    let most = max(4 * (state.vring?.ring.size ?? 0), ChainQueue.maxHeld)
    let maxVisits = PacketBurst.maxVisits
    guard let memory = state.vring?.memory else { return 0 }
    let view = memory.addressMap.view
    while count < ChainQueue.burst, visits < maxVisits, state.inFlight == 0 || state.held < most,
      state.vring?.isEnabled == true, !state.isDraining || state.resubmissions > 0
    {
      let outstanding = state.outstanding
      guard
        let chain = state.vring?.ring.fetchChain(into: segments, memory: view, outstanding: outstanding)
      else { break }
      let request = makeRequest(chain, memory, &state)
      state.inFlight += 1
      state.outstanding += Int(chain.descriptors)
      state.held += segments.count
      visits += chain.length
      if state.isInOrder { state.order.append(request) }
      count += 1
      device.process(Chain(request), queue: index)
    }
    // Nothing comes back of what is found broken, or waits for a translation: that stays in the record.
    if state.isDraining && resubmissions > 0 && state.resubmissions == 0 { drained.signal() }
    return count
  }

  /// What stands for a chain: one that has come back, if nobody holds it any more.
  private func makeRequest(_ chain: DeviceRing.Chain, _ memory: GuestMemory, _ state: inout State) -> ChainRequest {
    if var spare = state.spare.popLast(), isKnownUniquelyReferenced(&spare) {
      spare.renew(chain, segments: state.segments, memory: memory)
      return spare
    }
    return ChainRequest(chain, segments: state.segments, memory: memory, queue: self)
  }

  /// Returns to the guest what the device is done with.
  private func putBack(_ state: inout State) {
    defer { state.back.removeAll(keepingCapacity: true) }
    if state.isInOrder {
      // Those behind one that the device still has wait for it (virtio 1.2, §2.7.9).
      let count = state.order.firstIndex { $0.finished == nil } ?? state.order.count
      state.back.removeAll(keepingCapacity: true)
      state.back.append(contentsOf: state.order[..<count])
      state.order.removeFirst(count)
    }
    guard !state.back.isEmpty else { return }
    let memory = state.vring?.memory
    for i in state.back.indices {
      let request = state.back[i]
      let written = request.finished ?? 0
      if let log = state.vring?.ring.log { request.noteWrites(in: log) }
      state.vring?.ring.returnChain(request.chain, written: written)
      state.outstanding -= Int(request.chain.descriptors)
      state.inFlight -= 1
      state.held -= request.segmentCount
      counters.addRequest(bytes: request.readableBytes &+ written, links: request.chain.length)
      if let memory, state.spare.count < ChainQueue.maxSpare, request.isWorthKeeping(in: memory) {
        state.spare.append(request)
      }
    }
    state.vring?.ring.publishChains()
    state.vring?.notify()
    if state.isDraining { drained.signal() }
  }

  private func report() {
    let found = ownership.burst { state in (state.vring?.takeReport(), state.observer) }
    guard let (report, observer) = found, let report else { return }
    observer?.deviceReports(report)
  }

  // MARK: The device

  /// Takes a chain back from the device, on any thread.
  func take(_ request: ChainRequest, written: Int) {
    let mustWake = inbox.withLock { inbox in
      // In here, so that whoever sees that a chain is finished finds it in the inbox too.
      request.setFinished(written: written)
      inbox.finished.append(request)
      defer { inbox.isWatched = true }
      return !inbox.isWatched
    }
    if mustWake { EventFD.signal(finished) }
  }

  // MARK: The control side

  /// Says whether a turn may take as long as pages of memory need to arrive.
  func mayTakeLong(_ mayTakeLong: Bool) { ownership.mayTakeLong(mayTakeLong) }

  /// Has another worker serve the queue for the time being.
  func leave(for worker: Worker) throws { try place.leave(self, for: worker) }

  /// Has it served as before ``leave(for:)``.
  func comeBack() throws { try place.comeBack(self) }

  /// Makes the worker watch for all that wakes the queue.
  private func watch(kick: OwnedFD?) throws {
    try place.watch(finished, of: self, source: ChainQueue.finishedSource)
    if let wakeup = device.wakeup(queue: index) {
      try place.watch(wakeup, of: self, source: ChainQueue.deviceSource)
    }
    if let kick { try place.watch(kick, of: self, source: ChainQueue.kickSource) }
  }

  /// Serves a ring from now on.
  func start(
    _ vring: DeviceSetup.Vring, features: Features, memory: GuestMemory, log: DirtyLog?,
    observer: (any DeviceObserver)?
  ) throws {
    let running: RunningVring
    do throws(VirtioError) {
      running = try RunningVring(vring, features: features, memory: memory, log: log, counters: counters)
    } catch {
      throw DatapathError(.badVring, "\(name) cannot be served: \(error)")
    }
    let resubmissions = running.ring.resubmissions
    try device.start(
      queue: index, context: QueueContext(queue: index, features: features, observer: observer))
    place.attach(self)
    do {
      try watch(kick: running.kick)
      try change { state in
        state.vring = running
        state.observer = observer
        state.isInOrder = features.contains(.inOrder)
        state.isDraining = false
      }
    } catch {
      leave(kick: running.kick)
      throw error
    }
    if resubmissions > 0 { observer?.deviceReports(.requestsResubmitted(index: index, count: resubmissions)) }
    // The guest may wait for a call that whoever served the ring before did not live to make.
    running.callOnce()
  }

  private func leave(kick: OwnedFD?) {
    if let kick { place.unwatch(kick) }
    if let wakeup = device.wakeup(queue: index) { place.unwatch(wakeup) }
    place.unwatch(finished)
    place.detach(self)
    device.stop(queue: index)
  }

  /// Changes descriptors, or whether the ring is enabled.
  ///
  /// - Returns: Whether the ring is served.
  func update(_ description: VringDescription, enabled: Bool) throws -> Bool {
    try change { state in
      guard var running = state.vring else { return false }
      if running.kick !== description.kick {
        if let kick = description.kick { try place.watch(kick, of: self, source: ChainQueue.kickSource) }
        if let kick = running.kick { place.unwatch(kick) }
      }
      let isNewCall = running.call !== description.call
      running.update(description, isEnabled: enabled)
      state.vring = running
      // A call that went to the old descriptor may have been lost on the way.
      if isNewCall { running.callOnce() }
      return true
    }
  }

  /// Notes writes to guest memory elsewhere from the next turn on: those for chains that are with the device too.
  func setLog(_ log: DirtyLog?) throws {
    try change { $0.vring?.log = log }
  }

  /// Stops the ring when all its chains are back.
  ///
  /// - Returns: Where it stands; nil when it was not served.
  /// - Throws: ``DatapathError`` `stuck`, when a chain does not come back in time; the ring then stays as it is, without
  ///   new chains.
  func stop() throws -> VringState? {
    try drain()
    let stopped = try change { state in
      defer {
        state.vring = nil
        state.observer = nil
        // They hold the queue, and guest memory.
        state.spare = []
      }
      return state.vring
    }
    guard let stopped else { return nil }
    leave(kick: stopped.kick)
    return stopped.state
  }

  /// Finds the ring in another snapshot of guest memory, when no chain has buffers any more in what is taken away.
  func move(to memory: GuestMemory) throws {
    let isMoved = try change { state in
      // Chains that are with the device hold the snapshot that they came from.
      guard let old = state.vring?.memory.addressMap, memory.addressMap.keepsAll(of: old) else { return false }
      try state.vring?.move(to: memory)
      state.spare = []
      return true
    }
    if isMoved { return }
    try drain()
    try change { state in
      try state.vring?.move(to: memory)
      state.spare = []
      state.isDraining = false
    }
  }

  /// How long it may take until the next one of the requests under way has finished before a ring is said to be stuck, in
  /// milliseconds.
  private static let deadline = 10_000

  /// Fetches nothing more.
  ///
  /// - Returns: How many chains are with the device.
  @discardableResult func beginDraining() throws -> Int {
    try change { state in
      state.isDraining = true
      return state.inFlight + state.resubmissions
    }
  }

  private func drain() throws {
    var least = Int.max
    var end = UInt64(0)
    while true {
      let seen = drained.value
      let left = try beginDraining()
      if left == 0 { return }
      let now = MonotonicClock.nanoseconds
      if left < least {
        least = left
        end = now &+ UInt64(ChainQueue.deadline) &* 1_000_000
      }
      guard now < end else {
        throw DatapathError(
          .stuck,
          "\(name): none of \(left) requests has finished within \(ChainQueue.deadline / 1000) s; its memory stays mapped"
        )
      }
      drained.wait(whileEqualTo: seen, nanoseconds: Int64(end - now))
    }
  }

  /// Changes the queue between two turns.
  private func change<Result>(_ body: (inout State) throws -> Result) throws -> Result {
    // A worker that met the queue while it was closed has passed it over.
    defer { place.nudge() }
    return try ownership.exclusively(name) { state in
      defer { isWithoutKick.store(state.vring.map { $0.kick == nil } ?? false, ordering: .relaxed) }
      return try body(&state)
    }
  }
}
