import Testing
import VDPA
import Virtio

struct LateStartTests {
  @Test(
    "What is in a ring that is started late is found, kicked or not", arguments: Bench.Kind.allCases, [true, false])
  func pending(kind: Bench.Kind, isKicked: Bool) throws {
    let bench = try Bench()
    let device = try bench.claim(kind, pairs: 1)
    for round in 0..<200 {
      try device.negotiate(Bench.features(.split))
      let guest = try device.makeGuest(ringSize: 16, bufferBytes: NetPairDriver.bufferBytes(count: 4))
      let pair = try NetPairDriver(guest, buffers: 4)
      try device.start(guest, vrings: [])
      let isSent = try pair.send([UInt8](repeating: 7, count: 60))
      #expect(isSent)
      if !isKicked { for vring in guest.vrings { EventFD.drain(vring.kick) } }
      for index in 0..<2 { try device.start(vring: index) }
      let packet = try pair.receive(within: .seconds(3))
      #expect(packet != nil, "round \(round)")
      if packet == nil { break }
      try device.stop()
    }
    device.release()
    try bench.end()
  }
}
