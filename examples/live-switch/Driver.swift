import Glibc
import Synchronization
import VDPA
import VhostUser
import Virtio

/// The guest's driver: a thread that sends packets and takes them back, or writes blocks and reads them, and knows how long it
/// had to wait for the next one.
final class Driver: Sendable {
  /// What has come of it all.
  struct Report: Sendable {
    /// What was sent or written, and came back.
    var (sent, received): (UInt64, UInt64) = (0, 0)
    /// What else can be counted.
    var counters: [(name: String, value: UInt64)] = []
    /// Whether nothing was lost, altered, or came in another order.
    var isWhole = false
    /// Packets that came twice.
    var duplicated: UInt64 = 0
  }

  private let path: String
  private let isBlock: Bool
  private let features: Features
  private let window: Int
  private let mebibytes: Int
  private let isStopping = Atomic<Bool>(false)
  /// The longest time in nanoseconds without a packet since it was set to 0, and how often something has moved.
  private let longestGap = Atomic<UInt64>(0)
  private let moves = Atomic<UInt64>(0)
  private let outcome = Mutex<Result<Report, any Error>?>(nil)
  private let thread = Mutex<PinnedThread?>(nil)

  init(path: String, isBlock: Bool, isPacked: Bool, window: Int, mebibytes: Int) {
    self.path = path
    self.isBlock = isBlock
    self.window = window
    self.mebibytes = mebibytes
    var features: Features = [.version1, .indirectDescriptors, .eventIndex]
    if !isBlock { features.insert(.netMergeableBuffers) }
    if isPacked { features.insert(.packedRing) }
    self.features = features
  }

  /// Connects, and sends from then on. Returns when packets come back.
  func start() throws {
    let running = try PinnedThread(name: "guest") { [self] in
      let result = Result { try run() }
      outcome.withLock { $0 = result }
    }
    thread.withLock { $0 = running }
    try waitForMoves(1000)
  }

  /// Ends when all that was sent has come back.
  func stop() throws -> Report {
    isStopping.store(true, ordering: .releasing)
    thread.withLock { $0 }?.join()
    return try outcome.withLock { $0 }?.get() ?? Report()
  }

  // MARK: Gaps

  /// From here on the longest time without a packet is kept.
  func beginGap() { longestGap.store(0, ordering: .relaxed) }

  /// The longest time in nanoseconds without a packet since then; after packets have come again.
  func endGap() throws -> UInt64 {
    try waitForMoves(100)
    return longestGap.load(ordering: .relaxed)
  }

  private func waitForMoves(_ count: UInt64) throws {
    let end = moves.load(ordering: .relaxed) + count
    while moves.load(ordering: .relaxed) < end {
      if case .failure(let error) = outcome.withLock({ $0 }) { throw error }
      usleep(100)
    }
  }

  // MARK: The thread

  private func run() throws -> Report { isBlock ? try runBlocks() : try runPackets() }

  private func runPackets() throws -> Report {
    let size = 2 * window <= 256 ? 256 : 1024
    let guest = try makeGuest(2, size, NumberedTraffic.bufferBytes(ringSize: size, pairs: 1))
    var configuration = NumberedTraffic.Configuration()
    configuration.window = window
    let traffic = try NumberedTraffic(guest, configuration)
    try connect(guest)
    try loop(1024, want: { traffic.want($0) }, isComplete: { traffic.isComplete }, step: { try traffic.step() })
    try guest.stop()
    let report = traffic.reports[0]
    return Report(
      sent: report.sent, received: report.received, counters: Array(report.counters.dropFirst(2)),
      isWhole: report.lost == 0 && report.corrupted == 0 && report.reordered == 0, duplicated: report.duplicated)
  }

  private func runBlocks() throws -> Report {
    let guest = try makeGuest(1, 256, BlockTraffic.bufferBytes(vrings: 1, window: window))
    let traffic = try BlockTraffic(guest.guest, window: window)
    try connect(guest)
    var blocks: UInt64 = 0
    try loop(
      256,
      want: { count in
        traffic.want(count)
        blocks += count
      }, isComplete: { traffic.isComplete }, step: { try traffic.step() })
    try guest.stop()
    if let problem = traffic.problem { print(problem) }
    return Report(sent: blocks, received: blocks, isWhole: traffic.problem == nil && traffic.isComplete)
  }

  private func makeGuest(_ vrings: Int, _ size: Int, _ needed: Int) throws -> FrontendGuest {
    try FrontendGuest(
      features: features, vringCount: vrings, ringSize: size, bufferBytes: max(needed, mebibytes << 20))
  }

  private func connect(_ guest: FrontendGuest) throws {
    let frontend = Frontend(try FrontendConnection(path: path))
    try frontend.negotiate(features)
    try guest.start(over: frontend)
  }

  private func loop(
    _ batch: UInt64, want: (UInt64) -> Void, isComplete: () -> Bool, step: () throws -> Bool
  ) throws {
    var last = MonotonicClock.nanoseconds
    while !isStopping.load(ordering: .acquiring) {
      want(batch)
      while !isComplete() {
        let hasMoved = try step()
        let now = MonotonicClock.nanoseconds
        if hasMoved {
          longestGap.max(now - last, ordering: .relaxed)
          moves.add(1, ordering: .relaxed)
          last = now
        } else if now - last > 10_000_000_000 {
          throw VhostUserError(.disconnected, "nothing has come for ten seconds")
        }
      }
    }
  }
}
