import Glibc
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A worker in a client that does not come back, and who hears of it.
struct WatchdogTests {
  /// Waits in its turn for as long as it is held.
  private final class Client: WorkerClient {
    let name: String
    let isHeld = Atomic<Bool>(false)
    let isInside = Atomic<Bool>(false)
    let turns = Atomic<Int>(0)

    init(_ name: String) { self.name = name }

    let needsPolling = false

    func serve(_ burst: PacketBurst, isPolled: Bool) -> Int {
      turns.add(1, ordering: .relaxed)
      while isHeld.load(ordering: .relaxed) {
        isInside.store(true, ordering: .relaxed)
        usleep(200)
      }
      isInside.store(false, ordering: .relaxed)
      return 0
    }

    func woken(by source: Int) {}
  }

  private final class Log: Sendable {
    let reports = Mutex<[WorkerReport]>([])
    var all: [WorkerReport] { reports.withLock { $0 } }
  }

  private func wait(until condition: () -> Bool) {
    while !condition() { usleep(200) }
  }

  @Test(
    "Told once when it is stuck, with the client's name, and once when it goes on",
    arguments: WorkerConfiguration.Mode.allCases)
  func stuck(mode: WorkerConfiguration.Mode) throws {
    let worker = try Worker(name: "vdpa-worker-3", mode: mode, cpu: nil)
    defer { worker.stop() }
    let other = try Worker(name: "vdpa-worker-4", mode: mode, cpu: nil)
    defer { other.stop() }
    let log = Log()
    let watchdog = Watchdog([other, worker], interval: 3) { report in log.reports.withLock { $0.append(report) } }
    let (good, bad) = (Client("vm0.sock queue pair 0"), Client("vm1.sock vring 7"))
    for client in [good, bad] { worker.attach(client) }
    other.attach(Client("vm2.sock vring 0"))
    wait { good.turns.load(ordering: .relaxed) > 0 && bad.turns.load(ordering: .relaxed) > 0 }
    // Asleep, or turn after turn in which nothing is to be done.
    if mode == .event { wait { worker.position.client == 0 && other.position.client == 0 } }
    for _ in 0..<10 {
      usleep(1000)
      watchdog.look()
    }
    if mode == .event { #expect(log.all == []) }
    log.reports.withLock { $0 = [] }

    for _ in 0..<2 {
      bad.isHeld.store(true, ordering: .relaxed)
      worker.nudge()
      wait { bad.isInside.load(ordering: .relaxed) }
      for _ in 0..<6 { watchdog.look() }
      let ofWorker = log.all.filter { "\($0)".contains("vdpa-worker-3") }
      #expect(ofWorker == [.stuck(worker: "vdpa-worker-3", client: "vm1.sock vring 7", seconds: 6)])
      bad.isHeld.store(false, ordering: .relaxed)
      worker.nudge()
      wait { !bad.isInside.load(ordering: .relaxed) }
      let turns = good.turns.load(ordering: .relaxed)
      worker.nudge()
      wait { good.turns.load(ordering: .relaxed) > turns }
      watchdog.look()
      let last = log.all.filter { "\($0)".contains("vdpa-worker-3") }.last
      guard case .goesOn("vdpa-worker-3", "vm1.sock vring 7", 15) = last else {
        Issue.record("\(log.all)")
        return
      }
      log.reports.withLock { $0 = [] }
    }
  }

  /// Holds whoever gives it a chain.
  private final class HeldDevice: SoftwareDevice {
    let type = DeviceType.entropy
    let isHeld = Atomic<Bool>(true)
    func process(_ chain: consuming Chain, queue: Int) {
      while isHeld.load(ordering: .relaxed) { usleep(200) }
    }
  }

  @Test("An engine watches its workers by itself; the report names socket and vring, and says what to do")
  func engine() throws {
    let log = Log()
    let device = HeldDevice()
    let guest = try ChainGuest(device, features: [.version1]) { report in log.reports.withLock { $0.append(report) } }
    defer { guest.end() }
    try #require(guest.post([1], room: 1) != nil)
    guest.kick()
    wait { log.all.count == 1 }
    let text = try #require(log.all.first).description
    for part in ["vdpa-worker-0 is stuck in guest vring 0 for 2 s", "end that front-end"] {
      #expect(text.contains(part), "\(text)")
    }
    device.isHeld.store(false, ordering: .relaxed)
    wait { log.all.count == 2 }
    let last = try #require(log.all.last).description
    #expect(last.hasPrefix("vdpa-worker-0 goes on after") && last.hasSuffix("s in guest vring 0"))
    #expect(try guest.collect(1).count == 1)
  }
}
