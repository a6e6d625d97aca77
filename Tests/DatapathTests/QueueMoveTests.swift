import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Queues that go from one worker to the other while they are served.
struct QueueMoveTests {
  /// Moves a queue to and fro between workers 0 and 1, on a thread of its own, until it is told to end.
  private final class Mover: Sendable {
    private let isStopping = Atomic<Bool>(false)
    let moves = Atomic<Int>(0)
    private let error = Mutex<(any Error)?>(nil)
    private let thread = Mutex<PinnedThread?>(nil)

    /// - Parameter modes: What the workers are told to be between moves; empty for nothing.
    init(_ engine: SoftwareEngine, queue: String, modes: [WorkerConfiguration.Mode] = []) throws {
      let started = try PinnedThread(name: "mover") { [self] in
        while !isStopping.load(ordering: .relaxed) {
          let count = moves.load(ordering: .relaxed)
          do {
            if !modes.isEmpty { try engine.setMode(modes[count % modes.count], ofWorker: count % 2) }
            try engine.move(queue: queue, toWorker: (count + 1) % 2)
          } catch {
            self.error.withLock { $0 = error }
            return
          }
          moves.add(1, ordering: .relaxed)
          // Some follow on each other's heels, and some let the queue be served for a while.
          usleep(UInt32(count % 4 * 100))
        }
      }
      thread.withLock { $0 = started }
    }

    /// Ends it.
    ///
    /// - Throws: What has kept it from moving the queue.
    func stop() throws {
      isStopping.store(true, ordering: .relaxed)
      thread.withLock { $0 }?.join()
      if let error = error.withLock({ $0 }) { throw error }
    }

    var hasFailed: Bool { error.withLock { $0 } != nil }
  }

  private static let netFeatures: [Features] = [
    [.version1, .netMergeableBuffers], [.version1, .netMergeableBuffers, .eventIndex],
    [.version1, .netMergeableBuffers, .packedRing], [.version1, .netMergeableBuffers, .packedRing, .eventIndex],
  ]

  /// A net device on two workers, and its guest.
  private func withNet(
    _ features: Features, _ mode: WorkerConfiguration.Mode, queues: Int = 1,
    _ body: (SoftwareEngine, any Device, NumberedGuest) throws -> Void
  ) throws {
    let engine = try SoftwareEngine(workers: WorkerConfiguration(mode: mode, count: 2, idleTime: 5))
    defer { engine.stop() }
    let guest = try NumberedGuest(features: features)
    let device = try engine.open(DeviceRequest(device: -1, owner: "vm0.sock", type: .net, parameters: [:]))
    try device.configure(
      DeviceSetup(
        features: features, memory: try guest.snapshot(),
        vrings: (0..<2).map { DeviceSetup.Vring(guest.description(guest.start($0)), isEnabled: true) },
        observer: ChainGuest.Reports()))
    try body(engine, device, guest)
    _ = try device.close()
  }

  /// Sends packets and takes back what comes until so many have come and `isOver`, and all that was sent.
  private func drive(_ guest: NumberedGuest, _ count: Int, until isOver: () -> Bool) {
    let end = MonotonicClock.nanoseconds + 30_000_000_000
    while guest.fault == nil && MonotonicClock.nanoseconds < end {
      let isEnding = guest.received >= count && isOver()
      if isEnding && guest.received == guest.sent { return }
      guest.offer(NumberedGuest.size - guest.offered)
      // A few at a time and many at a time, so that rings are empty now and then.
      if !isEnding { guest.send(min(guest.sent % 23 + 1, NumberedGuest.size - guest.sending)) }
      guest.collect()
    }
  }

  @Test(
    "A queue pair is moved under traffic: nothing is lost, nothing comes twice or out of order",
    arguments: netFeatures, WorkerConfiguration.Mode.allCases)
  func net(features: Features, mode: WorkerConfiguration.Mode) throws {
    try withNet(features, mode) { engine, _, guest in
      let name = "vm0.sock queue pair 0"
      #expect(engine.queueLoads.map { [$0.name, "\($0.worker)"] } == [[name, "0"]])
      let mover = try Mover(engine, queue: name)
      drive(guest, 5000) { mover.moves.load(ordering: .relaxed) >= 200 || mover.hasFailed }
      try mover.stop()
      #expect(guest.fault == nil && guest.received == guest.sent && guest.received >= 5000)
      // Both have carried packets, and the load is the queue's wherever it was.
      let statistics = engine.workerStatistics
      #expect(statistics.allSatisfy { $0.busyTurns > 0 })
      #expect(statistics.map(\.queues).reduce(0, +) == 1)
      let load = try #require(engine.queueLoads.first)
      #expect(load.busyTurns == statistics.reduce(0) { $0 + $1.busyTurns })
      #expect(load.busyCycles == statistics.reduce(0) { $0 + $1.busyCycles })
    }
  }

  @Test(
    "Modes change at the same time, and kick descriptors too: nothing is lost", arguments: netFeatures)
  func everythingChanges(features: Features) throws {
    try withNet(features, .event) { engine, device, guest in
      let mover = try Mover(
        engine, queue: "vm0.sock queue pair 0", modes: [.poll, .event, .event, .adaptive, .adaptive])
      var changes = 0
      drive(guest, 5000) {
        // Between two steps of the driver, as a front-end does it at any time.
        if mover.hasFailed { return true }
        changes += 1
        if changes % 50 == 0, (try? guest.exchangeKick(changes / 50 % 2)) != nil {
          try? device.setVring(guest.description(guest.start(changes / 50 % 2)), enabled: true)
        }
        return mover.moves.load(ordering: .relaxed) >= 200 && changes >= 500
      }
      try mover.stop()
      #expect(guest.fault == nil && guest.received == guest.sent && guest.received >= 5000)
    }
  }

  @Test(
    "A ring served chain by chain is moved while its device has chains, and they come back by the other worker",
    arguments: SoftwareDeviceTests.formats, WorkerConfiguration.Mode.allCases)
  func chains(features: Features, mode: WorkerConfiguration.Mode) throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: features, mode: mode, workers: 2)
    defer { guest.end() }
    let mover = try Mover(guest.engine, queue: "guest vring 0")
    var rounds = 0
    while (rounds < 300 || mover.moves.load(ordering: .relaxed) < 200) && !mover.hasFailed && rounds < 3000 {
      let count = rounds % 3 + 1
      for _ in 0..<count { guest.post([UInt8(truncatingIfNeeded: rounds)], room: 1) }
      guest.kick()
      try #require(keeper.wait(for: count), "round \(rounds): a kick was lost")
      keeper.finishAll()
      try #require(try guest.collect(count).count == count, "round \(rounds): what has finished was lost")
      rounds += 1
    }
    try mover.stop()
    #expect(guest.engine.workerStatistics.allSatisfy { $0.busyTurns > 0 } && guest.reports.all.isEmpty)
    // It stays where it is when its ring is stopped and started again.
    let worker = try #require(guest.engine.queueLoads.first).worker
    _ = try guest.device.close()
    #expect(guest.engine.queueLoads.isEmpty)
    try guest.configure()
    #expect(guest.engine.queueLoads.map(\.worker) == [worker])
  }

  @Test(
    "A block device's queue is moved, and what wakes it when the disk is done with it", arguments: ["uring", "threads"])
  func block(io: String) throws {
    let file = try TestFile(sectors: 8)
    let device = try SoftwareBlockDevice(
      DeviceRequest(device: -1, owner: "guest", type: .block, parameters: ["blk-file": file.path, "io": io]))
    let guest = try ChainGuest(device, features: [.version1, .blockFlush], workers: 2)
    defer { guest.end() }
    let mover = try Mover(guest.engine, queue: "guest vring 0")
    for round in 0..<1500 {
      try #require(guest.post(BlockRequest(.flush, sector: 0).encoded, room: 1) != nil)
      guest.kick()
      let back = try guest.collect(1)
      try #require(back.map(\.written) == [[0]], "round \(round)")
      // It ends before the buffers do.
      if mover.hasFailed { break }
    }
    try mover.stop()
    #expect(mover.moves.load(ordering: .relaxed) > 20)
    #expect(guest.engine.workerStatistics.allSatisfy { $0.busyTurns > 0 })
  }

  // MARK: What is refused

  @Test("A queue or a worker that there is not is refused by name, with where to look")
  func unknown() throws {
    try withNet(QueueMoveTests.netFeatures[0], .event) { engine, _, _ in
      let name = "vm0.sock queue pair 0"
      let queue = #expect(throws: DatapathError.self) { try engine.move(queue: "vm1.sock queue pair 0", toWorker: 1) }
      #expect(queue?.code == .notFound && queue?.message.contains("\"vm1.sock queue pair 0\"") == true)
      for index in [-1, 2] {
        let worker = #expect(throws: DatapathError.self) { try engine.move(queue: name, toWorker: index) }
        #expect(worker?.code == .notFound && worker?.message.contains("no worker \(index); there are 0 to 1") == true)
        #expect(throws: DatapathError.self) { try engine.setMode(.poll, ofWorker: index) }
      }
      // To where it is already: nothing happens.
      try engine.move(queue: name, toWorker: 0)
      #expect(engine.queueLoads.map(\.worker) == [0])
      try engine.setMode(.poll, ofWorker: 1)
      #expect(engine.workerStatistics.map(\.mode) == [.event, .poll])
      try engine.setMode(.adaptive)
      #expect(engine.workerStatistics.map(\.mode) == [.adaptive, .adaptive])
    }
  }

  @Test("Of two queues with one name neither is moved")
  func ambiguous() throws {
    try withNet(QueueMoveTests.netFeatures[0], .event) { engine, _, _ in
      let other = try NumberedGuest()
      let device = try engine.open(DeviceRequest(device: -1, owner: "vm0.sock", type: .net, parameters: [:]))
      try device.configure(
        DeviceSetup(
          features: other.features, memory: try other.snapshot(),
          vrings: (0..<2).map { DeviceSetup.Vring(other.description(other.start($0)), isEnabled: true) },
          observer: ChainGuest.Reports()))
      #expect(engine.queueLoads.map(\.worker) == [0, 1])
      let error = #expect(throws: DatapathError.self) {
        try engine.move(queue: "vm0.sock queue pair 0", toWorker: 1)
      }
      #expect(error?.code == .inUse && error?.message.contains("2 queues") == true)
      _ = try device.close()
      try engine.move(queue: "vm0.sock queue pair 0", toWorker: 1)
      #expect(engine.queueLoads.map(\.worker) == [1])
    }
  }

  @Test("A queue with a worker of its own, as for postcopy, is not moved; it comes back to where it was moved before")
  func postcopy() throws {
    try withNet(QueueMoveTests.netFeatures[0], .event) { engine, device, guest in
      let name = "vm0.sock queue pair 0"
      let postcopy = try #require(device.capabilities.postcopy)
      try engine.move(queue: name, toWorker: 1)
      try postcopy.beginPostcopy()
      #expect(engine.queueLoads.isEmpty)
      #expect(throws: DatapathError.self) { try engine.move(queue: name, toWorker: 0) }
      drive(guest, 100) { true }
      #expect(engine.workerStatistics.allSatisfy { $0.busyTurns == 0 })
      try postcopy.endPostcopy()
      #expect(engine.queueLoads.map(\.worker) == [1])
      drive(guest, 200) { true }
      #expect(guest.fault == nil && guest.received == guest.sent && guest.received >= 200)
    }
  }

  // MARK: Homes

  /// Waits in its turn for as long as it is held.
  private final class HeldClient: WorkerClient {
    let name = "held"
    let needsPolling = false
    let isHeld = Atomic<Bool>(true)
    let turns = Atomic<Int>(0)
    func serve(_ burst: PacketBurst, isPolled: Bool) -> Int {
      turns.add(1, ordering: .relaxed)
      while isHeld.load(ordering: .relaxed) { usleep(200) }
      return 0
    }
    func woken(by source: Int) {}
  }

  private func wait(until condition: () -> Bool) {
    for _ in 0..<100_000 {
      if condition() { return }
      usleep(200)
    }
    Issue.record("what was waited for has not come")
  }

  @Test("A client whose worker does not leave it stays there, and is woken there as before")
  func stuck() throws {
    let (old, new) = (
      try Worker(name: "old", mode: .event, cpu: nil), try Worker(name: "new", mode: .event, cpu: nil)
    )
    defer { for worker in [old, new] { worker.stop() } }
    let (client, home, kick) = (HeldClient(), WorkerHome(old), try EventFD.make())
    home.attach(client)
    try home.watch(kick, of: client, source: 0)
    wait { client.turns.load(ordering: .relaxed) == 1 }
    let error = #expect(throws: DatapathError.self) { try home.move(client, to: new) }
    #expect(error?.code == .stuck && home.worker === old && new.clients.isEmpty)
    client.isHeld.store(false, ordering: .relaxed)
    wait { old.position.client == 0 }
    func signalAndWait(by worker: Worker) {
      let turns = client.turns.load(ordering: .relaxed)
      EventFD.signal(kick)
      wait { client.turns.load(ordering: .relaxed) > turns && worker.position.client == 0 }
    }
    signalAndWait(by: old)
    try home.move(client, to: new)
    #expect(old.clients.isEmpty && new.clients.map(\.client.name) == ["held"])
    let before = old.statistics.turns
    signalAndWait(by: new)
    signalAndWait(by: new)
    #expect(old.statistics.turns == before)
    // What is not watched any more wakes it nowhere.
    home.unwatch(kick)
    home.detach(client)
    #expect(new.clients.isEmpty)
  }

  @Test("A client that is not served goes to its new worker when it is served again")
  func notServed() throws {
    let (old, new) = (
      try Worker(name: "old", mode: .event, cpu: nil), try Worker(name: "new", mode: .event, cpu: nil)
    )
    defer { for worker in [old, new] { worker.stop() } }
    let (client, home) = (try KickedClient(), WorkerHome(old))
    try home.move(client, to: new)
    #expect(old.clients.isEmpty && new.clients.isEmpty)
    home.attach(client)
    try home.watch(client.kick, of: client, source: 0)
    #expect(old.clients.isEmpty && new.clients.count == 1)
    client.give()
    wait { client.done == 1 }
  }
}
