import Testing

@testable import Peers

struct RingPathTests {
  @Test("Every combination is there once")
  func all() {
    #expect(RingPath.all.count == 96)
    #expect(Set(RingPath.all).count == 96)
    #expect(Set(RingPath.all.map(\.description)).count == 96)
    let devices = Set(RingPath.all.map { $0.options.device(socketPath: "sock") })
    #expect(devices.count == 96)
    #expect(devices.contains("net_virtio_user0,path=sock,queues=1,queue_size=64"))
    #expect(
      devices.contains(
        "net_virtio_user0,path=sock,queues=4,queue_size=1024,packed_vq=1,mrg_rxbuf=0,in_order=0,vectorized=1"))
  }

  @Test("Vector instructions are used where the driver's conditions hold, and only there")
  func vectors() {
    for path in RingPath.all {
      for hasAVX512 in [true, false] {
        let functions = path.driverPath(hasAVX512: hasAVX512)
        let isPacked = path.format == .packed && path.isInOrder && hasAVX512
        let isSplit = path.format == .split && !path.isInOrder
        #expect(
          functions.receive.contains("vectorized")
            == (path.isVectorised && !path.isMergeable && (isPacked || isSplit)), "\(path)")
        #expect(functions.transmit.contains("vectorized") == (path.isVectorised && isPacked), "\(path)")
        #expect(functions.receive.hasPrefix("packed ring ") == (path.format == .packed))
        #expect(functions.transmit.hasPrefix("packed ring ") == (path.format == .packed))
      }
    }
  }
}
