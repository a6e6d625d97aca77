import Glibc
import SimulatorEngine
import Testing
import VDPA
import Virtio

struct NotifyAreaTests {
  /// A doorbell as a guest has it: mapped.
  @safe private final class Bell {
    private let page: UnsafeMutableRawPointer

    init(_ doorbell: Doorbell) throws {
      let page = unsafe mmap(
        nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, doorbell.file.rawValue, off_t(doorbell.offset))
      unsafe self.page = try #require(page)
      #expect(unsafe page != MAP_FAILED)
    }

    deinit { unsafe munmap(page, 4096) }

    func ring(_ index: Int) { unsafe page.storeBytes(of: UInt16(index), as: UInt16.self) }
  }

  /// A guest whose kicks are heard by nobody.
  private func start() throws -> (Simulation, TestGuest, TestPort) {
    let simulation = try Simulation("queues=1,notify-area=on")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    var vrings = port.vrings
    for i in vrings.indices { vrings[i].description.kick = try EventFD.make() }
    try simulation.configure(guest.memory(), vrings)
    return (simulation, guest, port)
  }

  @Test func aWriteToTheDoorbellIsAKick() throws {
    let (simulation, _, port) = try start()
    #expect(simulation.context.hasDoorbells)
    let doorbells = try (0..<2).map { index in
      try #require(try wait { simulation.context.doorbell(of: index, completion: $0) })
    }
    #expect(doorbells.map(\.offset) == [0, 4096])
    let bell = try Bell(doorbells[1])
    port.refill()
    for round in 0..<20 {
      let sent = packet(round, length: 64)
      // Asleep, the device sees nothing of what is only announced.
      if round < 3 { usleep(200_000) }
      port.send([sent])
      if round < 3 {
        usleep(20_000)
        #expect(try port.take() == nil)
      }
      bell.ring(1)
      #expect(try port.take(1) == [sent])
      port.refill()
      _ = try port.reap()
    }
    #expect(simulation.device.statistics[1].kicks >= 3)
    #expect(simulation.device.statistics[0].kicks == 0)
    try simulation.end()
  }

  @Test func aDoorbellThatNobodyRingsCostsLittle() throws {
    let (simulation, _, port) = try start()
    _ = try wait { simulation.context.doorbell(of: 1, completion: $0) }
    port.refill()
    let thread = try #require(threads(named: simulation.device.threadName).first)
    usleep(100_000)
    let before = try #require(runTime(ofThread: thread))
    usleep(500_000)
    // Whoever spins uses all of it.
    #expect(try #require(runTime(ofThread: thread)) - before < 125_000_000)
    try simulation.end()
  }

  @Test func aDoorbellIsDeadWhenItsDeviceIsClosed() throws {
    let (simulation, guest, port) = try start()
    let doorbell = try #require(try wait { simulation.context.doorbell(of: 1, completion: $0) })
    let bell = try Bell(doorbell)
    _ = try simulation.close()
    port.refill()
    port.send([packet(0, length: 64)])
    let before = guest.contents(ofRegion: 0)
    bell.ring(1)
    usleep(20_000)
    #expect(guest.contents(ofRegion: 0) == before)
    #expect(simulation.device.statistics[1].kicks == 0)
    try simulation.end()
  }

  @Test func doorbellsAreThereOnlyIfWanted() throws {
    let simulation = try Simulation("queues=1")
    #expect(!simulation.context.hasDoorbells)
    #expect(!simulation.context.attributes.protocolFeatures.contains(.hostNotifier))
    let other = try Simulation("queues=1,notify-area=on")
    #expect(other.context.attributes.protocolFeatures.contains(.hostNotifier))
    #expect(throws: VDPAError.self) { try wait { other.context.doorbell(of: 2, completion: $0) } }
    try simulation.end()
    try other.end()
  }
}
