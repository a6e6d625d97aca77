import Testing
import VDPA
import VhostUser
import Virtio

struct BusClaimTests {
  @Test("A device's type is known before it is claimed where its engine says so")
  func types() throws {
    let bench = try Bench()
    #expect(bench.registry.devices.map(\.attributes?.type) == [.net, .net])
    #expect(bench.registry.devices.map(\.attributes?.vringCount) == [4, 4])
    try bench.end()
  }

  @Test("A socket is the vhostUser driver claiming a device, and meets the virtio driver there")
  func sockets() throws {
    let bench = try Bench()
    let device = DeviceHandle(engine: bench.engine, device: 1)
    let driven = try VirtioDriver(bench.registry, owner: "self-test").claim(device, type: .net)
    #expect(try bench.registry.information(of: device).claim?.description == "virtio for self-test")
    let threads = try SessionThreads()
    let socket = VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: "/tmp/bus-claim.sock")), registry: bench.registry, threads: threads)
    #expect(throws: VDPAError.self) { try socket.bind(device) }
    driven.release()
    try bench.registry.setDriverOverride(.virtio, of: device)
    let error = try #require(throws: VDPAError.self) { try socket.bind(device) }
    #expect(error.code == .wrongBusDriver, "\(error)")
    try bench.registry.setDriverOverride(.vhostUser, of: device)
    try socket.bind(device)
    #expect(try bench.registry.information(of: device).claim?.driver == .vhostUser)
    #expect(throws: VDPAError.self) { try VirtioDriver(bench.registry).claim(device, type: .net) }
    try socket.unbind()
    threads.stop()
    try bench.end()
  }
}
