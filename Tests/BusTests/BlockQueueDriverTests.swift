import Foundation
import Testing
import VDPA
import Virtio

struct BlockQueueDriverTests {
  @Test("Sectors are written and read, and the file has them", arguments: RingLayout.Format.allCases)
  func sectors(format: RingLayout.Format) throws {
    let bench = try Bench()
    let path = FileManager.default.temporaryDirectory.path + "/bus-tests-\(UUID().uuidString).img"
    try Data(count: 1 << 20).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    let device = try VirtioDriver(bench.registry).claim(.software, type: .block, parameters: ["blk-file": path])
    var features: Features = [.version1, .blockFlush]
    if format == .packed { features.insert(.packedRing) }
    try device.negotiate(features)
    let guest = try device.makeGuest(ringSize: 16, bufferBytes: BlockQueueDriver.bufferBytes)
    let disk = try BlockQueueDriver(guest)
    try device.start(guest)
    for sector in [0, 8, 100] as [UInt64] {
      let bytes = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ Int(sector)) }
      try disk.write(bytes, sector: sector)
      #expect(try disk.read(sector: sector, count: 4096) == bytes)
      try disk.flush()
      #expect(
        try Data(contentsOf: URL(fileURLWithPath: path))[Int(sector) * 512..<Int(sector) * 512 + 4096] == Data(bytes))
    }
    let error = try #require(throws: VDPAError.self) { try disk.read(sector: 1 << 20, count: 512) }
    #expect(error.code == .operationFailed && error.message.contains("IOERR"), "\(error)")
    #expect(try device.stop() == [guest.vrings[0].description.state])
    device.release()
    try bench.end()
  }
}
