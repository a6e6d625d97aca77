import Foundation
import SimulatorEngine
import Testing
import VDPA
import Virtio

struct DirtyTrackingTests {
  static let setups = [Features](arrayLiteral: [], .packedRing).flatMap { format in
    ["on-chip", "platform"].map { (format, $0) }
  }

  /// The pages of guest memory in which two pictures of it differ.
  private func changes(_ guest: TestGuest, since before: [UInt8]) -> Set<UInt64> {
    let after = guest.contents(ofRegion: 0)
    let first = guest.regions[0].guestAddress / 4096
    let changed = (0..<after.count / 4096).filter { page in
      let bytes = page * 4096..<(page + 1) * 4096
      return after[bytes] != before[bytes]
    }
    return Set(changed.map { first + UInt64($0) })
  }

  @Test(arguments: setups) func whatIsWrittenIsNoted(format: Features, translation: String) throws {
    let simulation = try Simulation("queues=1,translation=\(translation)")
    let guest = try TestGuest()
    let port = try TestPort(guest, features: format)
    let test = try TestLog()
    try wait { simulation.context.setLog(test.log, completion: $0) }
    // The receive ring's device area has an address in the log, of its own; the transmit ring's is not noted.
    var receive = port.receive.vring()
    receive.description.logAddress = 0x1800_0000
    let packets = (0..<20).map { packet($0, length: 64) }
    port.refill()
    port.send(packets)
    let before = guest.contents(ofRegion: 0)
    try simulation.configure(
      guest.memory(), [receive, port.transmit.vring()], features: Simulation.features.union(format))
    // Nobody but the device writes until it is closed.
    #expect(
      eventually {
        simulation.device.statistics[0].packets == 20 && simulation.device.statistics[1].packets == 20
      })
    let states = try simulation.close()
    #expect(states[0].nextUsed != port.receive.state.nextUsed)
    var changed = changes(guest, since: before)
    #expect(changed.contains(port.receive.used / 4096) || format == .packedRing)
    // Buffers and descriptors are noted where they are, the device areas where they are said to be or not at all.
    changed.subtract([port.receive.used / 4096, port.transmit.used / 4096])
    let noted = try test.pages
    #expect(noted.isSuperset(of: changed))
    #expect(noted.subtracting(changed) == Set([0x1800_0000 / 4096]))
    #expect(!changed.isEmpty)
    try simulation.end()
  }

  @Test func aLogIsSetAndTakenAwayWhileTrafficRuns() throws {
    let simulation = try Simulation("queues=1")
    let guest = try TestGuest()
    let port = try TestPort(guest)
    try simulation.configure(guest.memory(), port.vrings)
    let packets = (0..<50).map { packet($0, length: 64) }
    #expect(try port.roundTrip(packets) == packets)
    let test = try TestLog()
    try wait { simulation.context.setLog(test.log, completion: $0) }
    #expect(try test.pages.isEmpty)
    var vring = port.transmit.vring()
    #expect(try port.roundTrip(packets) == packets)
    #expect(try !test.pages.isEmpty)
    #expect(try !test.pages.contains(0x1900_0000 / 4096))
    vring.description.logAddress = 0x1900_0000
    try simulation.setVring(vring)
    #expect(try port.roundTrip(packets) == packets)
    #expect(try test.pages.contains(0x1900_0000 / 4096))
    try wait { simulation.context.setLog(nil, completion: $0) }
    // The front-end has taken the bits away, and none of them comes back.
    try test.clear()
    #expect(try port.roundTrip(packets) == packets)
    #expect(try test.pages.isEmpty)
    try simulation.end()
  }
}
