import Testing

@testable import Peers

struct PortStatisticsTests {
  /// As printed by testpmd 22.11 for two ports.
  static let answer = """
    testpmd> show port stats all\r

      ######################## NIC statistics for port 0  ########################
      RX-packets: 4000       RX-missed: 1          RX-bytes:  3137420
      RX-errors: 2
      RX-nombuf:  3         
      TX-packets: 1008       TX-errors: 4          TX-bytes:  775500

      Throughput (since last show)
      Rx-pps:            0          Rx-bps:            0
      Tx-pps:            0          Tx-bps:            0
      ############################################################################

      ######################## NIC statistics for port 1  ########################
      RX-packets: 18446744073709551615 RX-missed: 0          RX-bytes:  775501
      RX-errors: 0
      RX-nombuf:  0         
      TX-packets: 4001       TX-errors: 0          TX-bytes:  3137421

      Throughput (since last show)
      Rx-pps:      1229673          Rx-bps:    629592776
      Tx-pps:      1229557          Tx-bps:    629533512
      ############################################################################
    testpmd> # sync 1\r

    """

  @Test("Each port's counters are read from its own table")
  func ports() throws {
    let zero = try PortStatistics(parsing: Self.answer, port: 0)
    #expect(zero.rxPackets == 4000)
    #expect(zero.rxMissed == 1)
    #expect(zero.rxErrors == 2)
    #expect(zero.rxNoMbuf == 3)
    #expect(zero.txErrors == 4)
    #expect(zero.rxBytes == 3_137_420)
    #expect(zero.txPackets == 1008)
    #expect(zero.txBytes == 775_500)
    let one = try PortStatistics(parsing: Self.answer, port: 1)
    #expect(one.rxPackets == .max)
    #expect(one.txPackets == 4001)
    #expect(one.txBytes == 3_137_421)
  }

  @Test("A missing port and a missing counter are errors, not zeros")
  func missing() {
    #expect(throws: PeerError.self) { try PortStatistics(parsing: Self.answer, port: 2) }
    #expect(throws: PeerError.self) { try PortStatistics(parsing: "", port: 0) }
    // Port 0's table without a line that port 1's has.
    let cut = Self.answer.replacing("  TX-packets: 1008       TX-errors: 4          TX-bytes:  775500\n", with: "")
    #expect(throws: PeerError.self) { try PortStatistics(parsing: cut, port: 0) }
    let torn = Self.answer.replacing("RX-packets: 4000", with: "RX-packets: \nPort 0: link state change event")
    #expect(throws: PeerError.self) { try PortStatistics(parsing: torn, port: 0) }
  }

  @Test("Differences are counter by counter")
  func difference() throws {
    var earlier = PortStatistics()
    earlier.rxPackets = 1000
    earlier.txBytes = 500
    let difference = try PortStatistics(parsing: Self.answer, port: 0).since(earlier)
    #expect(difference.rxPackets == 3000)
    #expect(difference.txBytes == 775_000)
    #expect(difference.txPackets == 1008)
  }
}
