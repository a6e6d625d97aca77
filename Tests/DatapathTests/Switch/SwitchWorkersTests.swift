import CLinux
import Glibc
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A switch between devices that different workers serve.
struct SwitchWorkersTests {
  private final class Observer: DeviceObserver {
    func deviceReports(_ report: DeviceReport) {}
  }

  /// A guest with a device of an engine.
  private final class Station {
    let guest: FrameGuest
    let device: any Device

    init(_ engine: SoftwareEngine, _ name: String, features: Features = FrameGuest.plain) throws {
      guest = try FrameGuest(features: features)
      device = try engine.open(
        DeviceRequest(device: -1, owner: name, type: .net, queues: 1, parameters: ["port": "switch=lan"]))
      try start()
    }

    func start() throws {
      try device.configure(
        DeviceSetup(
          features: guest.features, memory: guest.memory,
          vrings: guest.rings.map { DeviceSetup.Vring($0, isEnabled: true) }, observer: Observer()))
    }
  }

  /// Two workers, each on whatever CPU.
  private func engine(_ mode: WorkerConfiguration.Mode) throws -> SoftwareEngine {
    let cpus = PinnedThread.allowedCPUs
    return try SoftwareEngine(workers: WorkerConfiguration(mode: mode, cpus: Array(cpus.prefix(2))))
  }

  /// Waits for something that others bring about; a wakeup that is lost fails.
  private func wait(_ condition: () throws -> Bool) throws {
    let end = MonotonicClock.nanoseconds + 20_000_000_000
    while try !condition() {
      try #require(MonotonicClock.nanoseconds < end, "it does not come")
      usleep(100)
    }
  }

  @Test(
    "Every packet arrives, in order, without a lost wakeup, one at a time and many",
    arguments: WorkerConfiguration.Mode.allCases)
  func order(mode: WorkerConfiguration.Mode) throws {
    let engine = try engine(mode)
    defer { engine.stop() }
    let stations = [try Station(engine, "vm1"), try Station(engine, "vm2", features: FrameGuest.offloading)]
    defer { for station in stations { _ = try? station.device.close() } }
    // Each learns where the other one is.
    for (i, station) in stations.enumerated() {
      stations[1 - i].guest.offer()
      station.guest.send([TestFrame.make(to: 2 - i, from: i + 1)])
      try wait { try !stations[1 - i].guest.receive().isEmpty }
    }
    for (batch, rounds) in [(1, 300), (FrameGuest.size, 100), (7, 100)] {
      var next = 0
      for _ in 0..<rounds {
        stations[1].guest.offer()
        let from = next
        var got = from
        #expect(
          stations[0].guest.send((0..<batch).map { TestFrame.make(to: 2, from: 1, from + $0) }) == batch)
        next += batch
        try wait {
          for packet in try stations[1].guest.receive() {
            #expect(TestFrame.content(packet.frame) == got)
            got += 1
          }
          return got == next
        }
        try wait { stations[0].guest.send([] as [OffloadPacket]) == 0 && stations[0].guest.sending() == 0 }
      }
    }
    let ports = try #require(engine.switchStatistics["lan"])
    #expect(ports.map(\.port) == ["vm1", "vm2"] && ports[1].counters.overflowed == 0)
    #expect(ports[0].counters.forwarded > 3000 && ports[0].counters.flooded == 1)
  }

  @Test("Packets that wait for buffers come when the guest has kicked, and none before", arguments: [false, true])
  func buffersLater(isBroadcast: Bool) throws {
    let engine = try engine(.event)
    defer { engine.stop() }
    let stations = try (1...3).map { try Station(engine, "vm\($0)") }
    defer { for station in stations { _ = try? station.device.close() } }
    let to = isBroadcast ? TestFrame.broadcast : TestFrame.address(9)
    for round in 0..<50 {
      stations[0].guest.send((0..<10).map { TestFrame.make(to: to, from: TestFrame.address(1), $0 + round) })
      try wait { stations[0].guest.send([] as [OffloadPacket]) == 0 && stations[0].guest.sending() == 0 }
      for station in stations.dropFirst() {
        var got = 0
        for offered in [1, 4, 5] {
          station.guest.offer(offered)
          let wanted = got + offered
          try wait {
            for packet in try station.guest.receive() {
              #expect(TestFrame.content(packet.frame) == got + round)
              got += 1
            }
            return got == wanted
          }
        }
      }
    }
  }

  @Test(
    "Devices come and go under the traffic of others, and leave nothing", arguments: WorkerConfiguration.Mode.allCases)
  func comeAndGo(mode: WorkerConfiguration.Mode) throws {
    let engine = try engine(mode)
    defer { engine.stop() }
    let first = try Station(engine, "vm1")
    for round in 0..<30 {
      var others = try (2...4).map { try Station(engine, "vm\($0)") }
      for station in others {
        station.guest.offer()
        station.guest.send((0..<20).map { TestFrame.make(to: $0 % 2 == 0 ? 1 : 77, from: 2 + $0, $0) })
      }
      first.guest.offer()
      first.guest.send((0..<30).map { TestFrame.make(to: 2 + $0 % 5, from: 1, $0) })
      try wait { try !first.guest.receive().isEmpty }
      // One that comes back is there again.
      if round % 3 == 0 {
        _ = try others[0].device.close()
        others[0] = try Station(engine, "vm2 again")
        others[0].guest.offer()
      }
      for station in others { _ = try station.device.close() }
      let ports = try #require(engine.switchStatistics["lan"])
      #expect(ports.dropFirst().allSatisfy { $0.addresses == 0 })
      others.removeAll()
      // A worker lets go of what it has served at its next turn.
      try wait { engine.switchStatistics["lan"]?.map(\.port) == ["vm1"] }
    }
    _ = try first.device.close()
  }

  @Test("A switch goes with its last port")
  func last() throws {
    let engine = try SoftwareEngine()
    defer { engine.stop() }
    do {
      let station = try Station(engine, "vm1")
      #expect(engine.switchStatistics.keys.sorted() == ["lan"])
      _ = try station.device.close()
    }
    try wait { engine.switchStatistics.isEmpty }
  }
}
