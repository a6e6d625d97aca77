internal import CLinux
internal import Synchronization
internal import VDPA
internal import Virtio

/// What the worker's thread does.
extension Worker {
  /// What only the thread itself touches.
  private struct Own {
    var generation: UInt64 = .max
    var mode = WorkerConfiguration.Mode.event
    var schedule = ClientSchedule()
    /// Those without a kick descriptor, by their places in the schedule.
    var kickless: [Int] = []
    let burst = PacketBurst()
    /// Up to when the time is accounted for, when work was found last, and when it was asked last who was woken, all in
    /// cycles.
    var marked = CycleClock.now
    var worked: UInt64 = 0
    var asked: UInt64 = 0
    /// When those without a kick descriptor were looked at last, in cycles.
    var polled: UInt64 = 0
    /// How many mappings had been lost when it was asked last.
    var losses = BusErrorGuard.losses
    /// How many pauses the next lap without work is worth.
    var pauses = Worker.fewestPauses
  }

  /// How many pauses a lap around the clients is followed by in which there was nothing to do. A pause leaves the core's
  /// resources, and on a shared core the front-end's lines, to the other side. An adaptive worker doubles them up to the most.
  private static var fewestPauses: Int { 32 }
  private static var mostPauses: Int { 128 }
  /// How long others may wait to be noticed in event mode while somebody is never idle, in microseconds.
  private static var askingTime: UInt64 { 10 }
  /// How long a client without a kick descriptor waits to be looked at while the worker sleeps, in milliseconds.
  private static var pollingTime: CInt { 1 }

  func run() {
    var own = Own()
    while true {
      if own.generation != generation.load(ordering: .relaxed) {
        guard update(&own) else { return }
      }
      guard !own.schedule.isEmpty else {
        // Nothing can come until somebody attaches a client.
        sleep(&own, milliseconds: -1)
        continue
      }
      switch own.mode {
      case .poll: if poll(&own) == 0 { pause(&own) }
      case .adaptive: adapt(&own)
      case .event: serveWoken(&own)
      }
    }
  }

  /// Takes over what others have changed. False when the worker is to end.
  private func update(_ own: inout Own) -> Bool {
    current.store(0, ordering: .relaxed)
    while true {
      let seen = pausing.value
      own.generation = generation.load(ordering: .acquiring)
      let now = shared.withLock { shared in
        shared.isStanding = shared.isStopping || shared.isPaused
        return shared
      }
      taken.store(own.generation, ordering: .releasing)
      taking.signal()
      let clients = now.clients.values.sorted { $0.id < $1.id }
      own.schedule.reset(clients)
      own.kickless = clients.indices.filter { clients[$0].client.needsPolling }
      own.mode = now.mode
      own.worked = CycleClock.now
      if now.isStopping || now.isPaused { standing.signal() }
      if now.isStopping { return false }
      if !now.isPaused { return true }
      markIdle(&own)
      pausing.wait(whileEqualTo: seen, nanoseconds: -1)
      markAsleep(&own)
    }
  }

  // MARK: Modes

  /// A round over the busy clients, and a look at some of those that rest.
  ///
  /// - Returns: How much there was to do.
  private func poll(_ own: inout Own) -> Int {
    var work = round(&own, isPolled: true, patience: ClientSchedule.patience)
    let looks = own.schedule.looksDue(at: own.marked, isIdle: work == 0)
    if looks > 0 { work &+= look(&own, looks) }
    if work > 0 { own.pauses = Worker.fewestPauses }
    return work
  }

  /// Polls while there is something to do and a little longer, then sleeps until it is woken.
  private func adapt(_ own: inout Own) {
    guard poll(&own) == 0 else {
      own.worked = own.marked
      return
    }
    guard
      own.marked &- own.worked >= UInt64(idleTime) &* CycleClock.perMicrosecond
    else {
      pause(&own)
      if own.schedule.isLapDone { own.pauses = min(own.pauses &* 2, Worker.mostPauses) }
      return
    }
    // Every client asks for what wakes it, and then looks once more: from here on whatever comes wakes the worker.
    var work = 0
    for index in 0..<own.schedule.count {
      let found = turn(index, &own, isPolled: false)
      if found > 0 { own.schedule.wake(index) }
      work &+= found
    }
    if work == 0 { sleep(&own, milliseconds: own.kickless.isEmpty ? -1 : Worker.pollingTime) }
    own.pauses = Worker.fewestPauses
    own.worked = own.marked
  }

  /// Serves those that were woken until they have nothing left to do, and sleeps when there is nobody left.
  private func serveWoken(_ own: inout Own) {
    let perMicrosecond = CycleClock.perMicrosecond
    if own.schedule.busyCount == 0 {
      sleep(&own, milliseconds: own.kickless.isEmpty ? -1 : Worker.pollingTime)
    } else if own.marked &- own.asked >= Worker.askingTime &* perMicrosecond {
      own.asked = own.marked
      takeEvents(&own, milliseconds: 0)
    }
    if !own.kickless.isEmpty,
      own.marked &- own.polled >= UInt64(Worker.pollingTime) &* 1000 &* perMicrosecond
    {
      // Whatever else goes on: others that are never idle must not keep such a client waiting.
      own.polled = own.marked
      for index in own.kickless { own.schedule.wake(index) }
    }
    // A ring asks for kicks only when there is nothing left to do, and is then looked at once more.
    _ = round(&own, isPolled: false, patience: 1)
  }

  // MARK: Turns

  /// Turns to each of the busy clients once.
  @inline(__always) private func round(_ own: inout Own, isPolled: Bool, patience: Int) -> Int {
    var (work, place) = (0, 0)
    while let index = own.schedule.inRound(place) {
      let found = turn(index, &own, isPolled: isPolled)
      if own.schedule.note(index, work: found, patience: patience) { place &+= 1 }
      work &+= found
    }
    return work
  }

  /// Looks at some of the clients that rest, and turns to those that may have something to do.
  private func look(_ own: inout Own, _ count: Int) -> Int {
    var work = 0
    // Of memory that a front-end has taken back a turn tells, whether or not anything is announced there.
    let losses = BusErrorGuard.losses
    if losses != own.losses {
      own.losses = losses
      own.schedule.forgetLooks()
    }
    for _ in 0..<count {
      let index = own.schedule.nextLook()
      begin(own.schedule.id(index))
      guard own.schedule.mayHaveWork(index) else { continue }
      markIdle(&own)
      let found = turn(index, &own, isPolled: true)
      if found > 0 { own.schedule.wake(index) } else { own.schedule.setLook(index) }
      work &+= found
    }
    markIdle(&own)
    return work
  }

  @inline(__always) private func begin(_ id: UInt64) {
    current.store(id, ordering: .relaxed)
    counters.beginTurn()
  }

  @inline(__always) private func turn(_ index: Int, _ own: inout Own, isPolled: Bool) -> Int {
    let served = own.schedule.client(index)
    begin(served.id)
    let work = served.client.serve(own.burst, isPolled: isPolled)
    let cycles = mark(&own)
    if work > 0 {
      counters.addBusy(cycles)
      served.load.add(cycles: cycles)
    } else {
      counters.addIdle(cycles)
    }
    return work
  }

  private func pause(_ own: inout Own) {
    guard own.schedule.isLapDone else { return }
    for _ in 0..<own.pauses { clinux_pause() }
    markIdle(&own)
  }

  // MARK: Sleep

  /// Sleeps until somebody wakes the worker.
  private func sleep(_ own: inout Own, milliseconds: CInt) {
    current.store(0, ordering: .relaxed)
    markIdle(&own)
    counters.beginSleep()
    takeEvents(&own, milliseconds: milliseconds)
    markAsleep(&own)
    own.asked = own.marked
  }

  private func takeEvents(_ own: inout Own, milliseconds: CInt) {
    epoll.wait(milliseconds: milliseconds) { event in
      guard event.token != 0 else {
        EventFD.drain(wake)
        return
      }
      let (id, source) = event.token.quotientAndRemainder(dividingBy: UInt64(Worker.maxSources))
      guard let index = own.schedule.index(of: id) else { return }
      own.schedule.client(index).client.woken(by: Int(source))
      own.schedule.wake(index)
    }
  }

  // MARK: Time

  @inline(__always) private func mark(_ own: inout Own) -> UInt64 {
    let now = CycleClock.now
    let cycles = CycleClock.cycles(from: own.marked, to: now)
    own.marked = now
    return cycles
  }

  private func markIdle(_ own: inout Own) { counters.addIdle(mark(&own)) }

  private func markAsleep(_ own: inout Own) { counters.addAsleep(mark(&own)) }
}
