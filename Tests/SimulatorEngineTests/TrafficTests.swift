import Foundation
import SimulatorEngine
import Testing
import VDPA
import Virtio

struct TrafficTests {
  @Test func aSinkCountsAndGivesNothingBack() throws {
    let simulation = try Simulation("queues=1,traffic=sink")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    port.refill()
    var reaped = 0
    for round in 0..<5 {
      port.send((0..<50).map { packet($0, length: 100) })
      #expect(
        try eventually {
          reaped += try port.reap()
          return reaped == 50 * (round + 1)
        })
    }
    #expect(eventually { simulation.device.statistics[1].packets == 250 })
    #expect(simulation.device.statistics[1].bytes == 25000)
    #expect(simulation.device.statistics[0].packets == 0)
    #expect(try port.take() == nil)
    try simulation.end()
  }

  @Test(arguments: [64, 1500]) func aSourceFillsWhatBuffersThereAre(length: Int) throws {
    let parameter = length == 64 ? "" : ",source-length=\(length)"
    let simulation = try Simulation("queues=1,traffic=source" + parameter)
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    port.send((0..<20).map { packet($0, length: 64) })
    var came = 0
    let hasCome = try eventually {
      port.refill()
      while let packet = try port.take() {
        came += 1
        #expect(packet.count == length)
        #expect(packet.prefix(14) == [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x76, 0x64, 0x70, 0x61, 0, 0x88, 0xb5])
        #expect(packet[14 + 20] == 20)
      }
      return came >= 1000
    }
    #expect(hasCome)
    var reaped = 0
    #expect(
      try eventually {
        reaped += try port.reap()
        return reaped == 20
      })
    #expect(eventually { simulation.device.statistics[1].packets == 20 })
    #expect(eventually { simulation.device.statistics[0].packets >= 1000 })
    // Also of a burst for which there were not enough buffers, those that came are counted.
    try simulation.device.inject(.stall)
    came += try port.takeAll().count
    for count in [5, 40] {
      for _ in 0..<count { #expect(port.receive.addEmpty()) }
      port.receive.publish()
      try simulation.device.clear(.stall)
      came += try port.take(count).count
    }
    try simulation.device.inject(.stall)
    #expect(simulation.device.statistics[0].packets == UInt64(came))
    try simulation.end()
  }

  @Test func aSourceWhosePacketsFitNowhereSleeps() throws {
    let simulation = try Simulation("queues=1,traffic=source,source-length=500")
    let guest = try TestGuest()
    let port = try TestPort(guest, receiveBuffer: 256)
    try simulation.configure(guest.memory(), port.vrings, features: [.version1])
    port.refill()
    #expect(eventually { simulation.device.statistics[0].oversized > 0 })
    let thread = try #require(threads(named: simulation.device.threadName).first)
    usleep(20_000)
    let before = try #require(runTime(ofThread: thread))
    usleep(500_000)
    let after = try #require(runTime(ofThread: thread))
    #expect(after - before < 25_000_000)
    #expect(try simulation.close().map(\.nextUsed) == [0, 0])
    try simulation.end()
  }
}
