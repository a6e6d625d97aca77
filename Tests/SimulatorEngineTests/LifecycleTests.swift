import Foundation
import SimulatorEngine
import Testing
import VDPA
import Virtio

struct LifecycleTests {
  @Test func aPausedDeviceLosesNothing() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    let first = (0..<100).map { packet($0, length: 64) }
    #expect(try port.roundTrip(first) == first)
    try simulation.device.inject(.stall)
    let before = simulation.device.statistics
    let second = (0..<30).map { packet($0, length: 64, seed: 1) }
    port.refill()
    port.send(second)
    usleep(50_000)
    #expect(try port.reap() == 0)
    #expect(try port.take() == nil)
    #expect(simulation.device.statistics.map(\.packets) == before.map(\.packets))
    try simulation.device.clear(.stall)
    var came: [[UInt8]] = []
    #expect(
      try eventually {
        while let packet = try port.take() { came.append(packet) }
        return came.count == 30
      })
    #expect(came == second)
    try simulation.end()
  }

  @Test func aPausedDeviceCanBeClosed() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    try simulation.device.inject(.stall)
    port.refill()
    port.send([packet(0, length: 64)])
    #expect(try simulation.close().map(\.nextAvail) == [0, 0])
    try simulation.end()
  }

  @Test(arguments: ["on-chip", "platform"]) func afterCloseThereIsSilence(translation: String) throws {
    let simulation = try Simulation("queues=1,translation=\(translation)")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<50).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    _ = try simulation.close()
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    for vring in [port.receive, port.transmit] { if let call = vring.call { EventFD.drain(call) } }
    port.refill()
    port.send(packets)
    for vring in [port.receive, port.transmit] { if let kick = vring.kick { EventFD.signal(kick) } }
    let before = guest.contents(ofRegion: 0)
    usleep(50_000)
    #expect(guest.contents(ofRegion: 0) == before)
    for vring in [port.receive, port.transmit] {
      let call = try #require(vring.call)
      #expect(EventFD.drain(call) == 0)
    }
    try simulation.end()
  }

  @Test func disabledRingsAreServedWithoutEffect() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(
      guest.memory(), [port.receive.vring(enabled: false), port.transmit.vring(enabled: true)])
    port.refill()
    func sendAndReap() throws {
      port.send((0..<10).map { packet($0, length: 64) })
      var reaped = 0
      #expect(
        try eventually {
          reaped += try port.reap()
          return reaped == 10
        })
      #expect(try port.take() == nil)
    }
    try sendAndReap()
    #expect(eventually { simulation.device.statistics[0].dropped == 10 })
    #expect(simulation.device.statistics[1].packets == 10)
    try simulation.setVring(port.transmit.vring(enabled: false))
    try simulation.setVring(port.receive.vring(enabled: true))
    try sendAndReap()
    #expect(eventually { simulation.device.statistics[1].dropped == 10 })
    #expect(simulation.device.statistics[1].packets == 10)
    try simulation.setVring(port.transmit.vring(enabled: true))
    let packets = (0..<100).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test func aLoneRingWaitsForItsPartner() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    // Before the device is configured a vring is taken note of only.
    try simulation.setVring(port.receive.vring())
    try simulation.configure(guest.memory(), [port.transmit.vring()])
    port.refill()
    let packets = (0..<10).map { packet($0, length: 64) }
    port.send(packets)
    usleep(20_000)
    #expect(try port.reap() == 0)
    try simulation.setVring(port.receive.vring())
    var came: [[UInt8]] = []
    #expect(
      try eventually {
        while let packet = try port.take() { came.append(packet) }
        return came.count == 10
      })
    #expect(came == packets)
    try simulation.end()
  }

  @Test func newDescriptorsReplaceTheOldOnes() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<100).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    let old = port.receive.call
    for vring in [port.receive, port.transmit] {
      (vring.kick, vring.call) = (try EventFD.make(), try EventFD.make())
      try simulation.setVring(vring.vring())
    }
    let oldCall = try #require(old)
    EventFD.drain(oldCall)
    #expect(try port.roundTrip(packets) == packets)
    #expect(EventFD.drain(oldCall) == 0)
    let newCall = try #require(port.receive.call)
    #expect(EventFD.drain(newCall) > 0)
    try simulation.end()
  }

  @Test func aGuestThatWantsNoCallsGetsNone() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    for vring in [port.receive, port.transmit] { vring.driver.setWantsCalls(false) }
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<100).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    for vring in [port.receive, port.transmit] {
      let call = try #require(vring.call)
      #expect(EventFD.drain(call) == 0)
      #expect(simulation.device.statistics[vring.index].calls == 0)
      #expect(eventually { simulation.device.statistics[vring.index].suppressedCalls > 0 })
    }
    try simulation.end()
  }

  @Test(arguments: ["on-chip", "platform"]) func aRingThatCannotBeServedIsRefused(translation: String) throws {
    let simulation = try Simulation("queues=1,translation=\(translation)")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    func vring(_ change: (inout VringDescription) -> Void) -> DeviceSetup.Vring {
      var description = port.transmit.description
      change(&description)
      return DeviceSetup.Vring(description, isEnabled: true)
    }
    let cases: [(DeviceSetup.Vring, String)] = [
      (vring { $0.descriptor += 8 }, "descriptor table"), (vring { $0.avail += 1 }, "available ring"),
      (vring { $0.used += 2 }, "used ring"), (vring { $0.descriptor = 0 }, "descriptor table"),
      (vring { $0.used = guest.regions[0].guestEnd - 8 }, "used ring"),
      (vring { $0.avail = UInt64.max - 1 }, "available"),
      (vring { $0.size = 3 }, "ring size 3"), (vring { $0.size = 0 }, "ring size 0"),
      (vring { $0.index = 0 }, "twice"),
    ]
    for (bad, part) in cases {
      let error = #expect(throws: VDPAError.self) {
        try simulation.configure(guest.memory(), [port.receive.vring(), bad])
      }
      #expect(error?.message.contains(part) == true, "\(error?.message ?? "")")
      #expect(simulation.device.dmaMap.ranges.isEmpty)
    }
    // The device is as it was before.
    try simulation.configure(guest.memory(), port.vrings)
    #expect(throws: VDPAError.self) { try simulation.setVring(vring { $0.used += 4 }) }
    let packets = (0..<10).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test func aRunningDeviceKeepsItsFeatures() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    try wait { simulation.context.setFeatures(Simulation.features, completion: $0) }
    for features in [Features.version1, Simulation.features.union(.logAll)] {
      #expect(throws: VDPAError.self) { try wait { simulation.context.setFeatures(features, completion: $0) } }
    }
    try wait(simulation.context.migrationDone(completion:))
    let packets = (0..<10).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    try simulation.end()
  }

  @Test func aReleasedDeviceIsFreshForTheNextOwner() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<10).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    simulation.context.release()
    var next: DeviceContext?
    #expect(
      eventually {
        next = try? simulation.registry.claim(simulation.context.handle, type: .net, owner: "vm1.sock")
        return next != nil
      })
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    #expect(next?.statistics?.vrings == [VringStatistics(), VringStatistics()])
    next?.release()
    try simulation.end()
  }
}
