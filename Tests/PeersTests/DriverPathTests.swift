import Testing

@testable import Peers

struct DriverPathTests {
  private static let output = """
    virtio_init_queue(): setting up queue: 1 on NUMA node -1
    set_rxtx_funcs(): virtio: using standard Tx path on port 1
    set_rxtx_funcs(): virtio: using vectorized Rx path on port 1
    set_rxtx_funcs(): virtio: using packed ring standard Tx path on port 0
    set_rxtx_funcs(): virtio: using packed ring mergeable buffer Rx path on port 0
    set_rxtx_funcs(): virtio: using inorder Tx path on port 10
    Done

    """

  @Test("The names are those of the port, as it was started last")
  func names() throws {
    #expect(
      try DriverPath(parsing: Self.output, port: 0)
        == DriverPath(receive: "packed ring mergeable buffer", transmit: "packed ring standard"))
    #expect(
      try DriverPath(parsing: Self.output, port: 1) == DriverPath(receive: "vectorized", transmit: "standard"))
    let restarted = Self.output + "set_rxtx_funcs(): virtio: using standard Rx path on port 1\n"
    #expect(try DriverPath(parsing: restarted, port: 1).receive == "standard")
  }

  @Test("A driver that says nothing is an error", arguments: [2, 10])
  func silence(port: Int) {
    #expect(throws: PeerError.self) { try DriverPath(parsing: Self.output, port: port) }
  }
}
