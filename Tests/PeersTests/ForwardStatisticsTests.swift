import Testing

@testable import Peers

struct ForwardStatisticsTests {
  /// As printed by testpmd 22.11 on `stop`, with two ports of two queues.
  static let answer = """
    testpmd> stop\r
    Telling cores to stop...
    Waiting for lcores to finish...

      ------- Forward Stats for RX Port= 0/Queue= 0 -> TX Port= 1/Queue= 0 -------
      RX-packets: 2000           TX-packets: 2000           TX-dropped: 0             

      ------- Forward Stats for RX Port= 1/Queue= 0 -> TX Port= 0/Queue= 0 -------
      RX-packets: 576            TX-packets: 576            TX-dropped: 0             

      ---------------------- Forward statistics for port 0  ----------------------
      RX-packets: 4000           RX-dropped: 5             RX-total: 4005
      TX-packets: 1008           TX-dropped: 768           TX-total: 1776
      ----------------------------------------------------------------------------

      ---------------------- Forward statistics for port 1  ----------------------
      RX-packets: 1009           RX-dropped: 0             RX-total: 1009
      TX-packets: 4001           TX-dropped: 0             TX-total: 4001
      ----------------------------------------------------------------------------

      +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
      RX-packets: 5008           RX-dropped: 0             RX-total: 5008
      TX-packets: 5008           TX-dropped: 0             TX-total: 5008
      ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++

    Done.

    """

  @Test("Each port's own table is read, not a queue's nor the sum")
  func ports() throws {
    let zero = try ForwardStatistics(parsing: Self.answer, port: 0)
    #expect(zero.rxPackets == 4000)
    #expect(zero.rxDropped == 5)
    #expect(zero.txPackets == 1008)
    #expect(zero.txDropped == 768)
    let one = try ForwardStatistics(parsing: Self.answer, port: 1)
    #expect(one.rxPackets == 1009)
    #expect(one.txPackets == 4001)
  }

  @Test("A missing port and a missing counter are errors, not zeros")
  func missing() {
    #expect(throws: PeerError.self) { try ForwardStatistics(parsing: Self.answer, port: 2) }
    #expect(throws: PeerError.self) { try ForwardStatistics(parsing: "Packet forwarding not started\n", port: 0) }
    let cut = Self.answer.replacing("  TX-packets: 1008           TX-dropped: 768           TX-total: 1776\n", with: "")
    #expect(throws: PeerError.self) { try ForwardStatistics(parsing: cut, port: 0) }
  }
}
