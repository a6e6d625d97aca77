import Datapath
import Synchronization
import Testing
import VDPA
import Virtio

/// Numbered blocks over a disk that keeps them, and over others that do not.
struct BlockTrafficTests {
  /// A disk in memory that does one thing wrong, or none.
  private final class Disk: SoftwareDevice {
    enum Fault: CaseIterable {
      case none
      /// What is read is not what was written.
      case forgets
      /// Reads fail.
      case fails
    }

    let type = DeviceType.block
    let queueCount = 2
    private let fault: Fault
    private let blocks = Mutex<[UInt64: [UInt8]]>([:])

    init(_ fault: Fault) { self.fault = fault }

    func process(_ chain: consuming Chain, queue: Int) {
      guard let header = chain.read(at: 0, count: 16), let request = BlockRequest(decoding: header) else { return }
      let length = chain.writableBytes - 1
      if request.kind == .write {
        let block = chain.read(at: 16, count: chain.readableBytes - 16) ?? []
        if fault != .forgets { blocks.withLock { $0[request.sector] = block } }
      } else {
        let block = blocks.withLock { $0[request.sector] } ?? Array(repeating: 0, count: length)
        _ = chain.write(block, at: 0)
      }
      let isFailure = fault == .fails && request.kind == .read
      _ = chain.write([isFailure ? BlockStatus.ioError.rawValue : BlockStatus.ok.rawValue], at: length)
    }
  }

  private func problem(_ fault: Disk.Fault, _ format: RingLayout.Format) throws -> String? {
    let bench = try Bench()
    bench.software.register(.block) { _ in Disk(fault) }
    let device = try VirtioDriver(bench.registry).claim(.software, type: .block)
    try device.negotiate(format == .packed ? [.version1, .packedRing] : [.version1])
    let guest = try device.makeGuest(ringSize: 32, bufferBytes: BlockTraffic.bufferBytes(vrings: 2))
    let traffic = try BlockTraffic(guest)
    try device.start(guest)
    #expect(try traffic.run(100))
    #expect(traffic.isComplete && traffic.progress.hasPrefix("vring 0: 100 of 100 blocks done"), "\(traffic.progress)")
    try device.stop()
    device.release()
    try bench.end()
    return traffic.problem
  }

  @Test("Blocks that are read as they were written are right", arguments: RingLayout.Format.allCases)
  func right(format: RingLayout.Format) throws {
    #expect(try problem(.none, format) == nil)
  }

  @Test("A disk that forgets, or fails, is found out")
  func wrong() throws {
    #expect(try problem(.forgets, .split)?.contains("100 read otherwise than written on vring 1") == true)
    #expect(try problem(.fails, .packed)?.contains("100 failed on vring 0") == true)
  }
}
