import Foundation
import Synchronization
import Testing
import VDPA
import Virtio

@testable import SimulatorEngine

struct DeviceThreadTests {
  private func makeThread(_ name: String) throws -> DeviceThread {
    let settings = try SimulatorSettings([:])
    let parts = try DeviceParts(index: 0, name: name, settings: settings)
    return try DeviceThread(name: name) { epoll in RingServer(parts, epoll: epoll) }
  }

  @Test func jobsRunInOrderOnTheThread() throws {
    let thread = try makeThread("sim-test-order")
    let seen = Mutex<[Int]>([])
    for i in 0..<100 { try thread.perform("job") { _ in seen.withLock { $0.append(i) } } }
    #expect(seen.withLock { $0 } == Array(0..<100))
    #expect(try thread.perform("sum") { _ in 6 * 7 } == 42)
    #expect(throws: SimulatorError.self) {
      try thread.perform("fail") { _ in throw SimulatorError(.outOfState, "no") }
    }
    thread.stop()
    let error = #expect(throws: SimulatorError.self) { try thread.perform("late") { _ in } }
    #expect(error?.code == .stopped)
  }

  @Test(arguments: [false, true]) func whoeverMissesTheDeadlineIsTold(evenIfLate: Bool) throws {
    let thread = try makeThread("sim-test-late")
    let (entered, gate) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    let wasRun = Atomic<Bool>(false)
    Thread.detachNewThread {
      try? thread.perform("hang") { _ in
        entered.signal()
        gate.wait()
      }
    }
    entered.wait()
    let error = #expect(throws: SimulatorError.self) {
      try thread.perform("unmap", evenIfLate: evenIfLate, deadline: 1_000_000) { _ in
        wasRun.store(true, ordering: .relaxed)
      }
    }
    #expect(error?.code == .deadlineMissed)
    #expect(error?.message.contains("unmap") == true)
    #expect(error?.message.contains("not do it any more") == !evenIfLate)
    gate.signal()
    thread.stop()
    #expect(wasRun.load(ordering: .relaxed) == evenIfLate)
  }

  @Test func anIdleDeviceUsesNoCPU() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<200).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    let thread = try #require(threads(named: simulation.device.threadName).first)
    // Buffers wait in the receive ring, as with any guest; only the work has ended.
    usleep(20_000)
    let before = try #require(runTime(ofThread: thread))
    usleep(500_000)
    let after = try #require(runTime(ofThread: thread))
    // A thread that spins uses all of the time, and at least a fair share of it on a busy machine.
    #expect(after - before < 25_000_000)
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test func anEngineThatIsRemovedLeavesNoThread() throws {
    let simulation = try Simulation("devices=5", device: 3)
    let names = try (0..<5).map { try #require(simulation.engine.simulatedDevice($0)).threadName }
    #expect(eventually { names.allSatisfy { threads(named: $0).count == 1 } })
    let error = #expect(throws: VDPAError.self) { try simulation.registry.removeEngine(simulation.handle) }
    #expect(error?.code == .engineInUse)
    try simulation.end()
    // The threads have been waited for; the kernel may still be tidying them up.
    #expect(eventually { names.allSatisfy { threads(named: $0).isEmpty } })
  }

  @Test func anEngineThatIsLetGoOfLeavesNoThread() throws {
    var names: [String] = []
    do {
      let engine = try SimulatorEngine(SimulatorSettings(["devices": "3"]))
      names = (0..<3).compactMap { engine.simulatedDevice($0)?.threadName }
    }
    #expect(names.count == 3)
    #expect(eventually { names.allSatisfy { threads(named: $0).isEmpty } })
  }
}
