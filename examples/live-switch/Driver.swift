import Glibc
import Synchronization
import VDPA
import VhostUser
import Virtio

/// The guest's driver: a thread that sends packets, takes them back, and knows how long it had to wait for the next one.
final class Driver: Sendable {
  private let path: String
  private let features: Features
  private let window: Int
  private let mebibytes: Int
  private let isStopping = Atomic<Bool>(false)
  /// The longest time in nanoseconds without a packet since it was set to 0, and how often something has moved.
  private let longestGap = Atomic<UInt64>(0)
  private let moves = Atomic<UInt64>(0)
  private let outcome = Mutex<Result<TrafficReport, any Error>?>(nil)
  private let thread = Mutex<PinnedThread?>(nil)

  init(path: String, isPacked: Bool, window: Int, mebibytes: Int) {
    self.path = path
    self.window = window
    self.mebibytes = mebibytes
    var features: Features = [.version1, .netMergeableBuffers, .indirectDescriptors, .eventIndex]
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
  func stop() throws -> TrafficReport {
    isStopping.store(true, ordering: .releasing)
    thread.withLock { $0 }?.join()
    return try outcome.withLock { $0 }?.get() ?? TrafficReport()
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

  private func run() throws -> TrafficReport {
    let size = 2 * window <= 256 ? 256 : 1024
    let needed = NumberedTraffic.bufferBytes(ringSize: size, pairs: 1)
    let guest = try FrontendGuest(
      features: features, vringCount: 2, ringSize: size, bufferBytes: max(needed, mebibytes << 20))
    var configuration = NumberedTraffic.Configuration()
    configuration.window = window
    let traffic = try NumberedTraffic(guest, configuration)
    let frontend = Frontend(try FrontendConnection(path: path))
    try frontend.negotiate(features)
    try guest.start(over: frontend)
    var last = MonotonicClock.nanoseconds
    while !isStopping.load(ordering: .acquiring) {
      traffic.want(1024)
      while !traffic.isComplete {
        let hasMoved = try traffic.step()
        let now = MonotonicClock.nanoseconds
        if hasMoved {
          longestGap.max(now - last, ordering: .relaxed)
          moves.add(1, ordering: .relaxed)
          last = now
        } else if now - last > 10_000_000_000 {
          throw VhostUserError(.disconnected, "no packet has come for ten seconds")
        }
      }
    }
    try guest.stop()
    return traffic.reports[0]
  }
}
