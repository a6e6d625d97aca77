import Testing
import VDPA

@testable import first_light

struct DaemonStatusTests {
  @Test("A status is the same after its line was read, and is one line")
  func line() throws {
    let status = DaemonStatus(
      sockets: [
        .init(
          name: "a.sock", engine: 0, device: 1, datapath: "simulator", ready: false, notReadyReason: "why",
          vringPackets: [3, 4])
      ],
      engines: [.init(id: -1, driver: "software", traffic: PacketCount(packetsIn: 5, packetsOut: 6))])
    let line = try status.line()
    #expect(!line.contains("\n"))
    let read = try DaemonStatus(line: line)
    #expect(read.sockets.map(\.vringPackets) == [[3, 4]])
    #expect(read.sockets.map(\.notReadyReason) == ["why"])
    #expect(read.engines.map(\.id) == [-1])
    #expect(read.engines.map(\.traffic) == [PacketCount(packetsIn: 5, packetsOut: 6)])
  }

  @Test("The odd vrings take packets in and the even ones give them out")
  func vrings() {
    let vrings = [UInt64(1), 10, 100, 1000].map { packets in
      var vring = VringStatistics()
      vring.packets = packets
      return vring
    }
    #expect(PacketCount(vrings) == PacketCount(packetsIn: 1010, packetsOut: 101))
  }
}
