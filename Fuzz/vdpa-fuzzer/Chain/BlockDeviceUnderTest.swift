internal import CLinux
internal import Glibc
internal import SystemPackage
internal import Virtio

@testable internal import Datapath

/// The block device's request queue on a disk in memory.
final class BlockDeviceUnderTest: ChainDevice, @unchecked Sendable {
  private struct Disk {
    let file: BlockFile
    let io: SteppedIO

    /// The file is there to be asked for its size and permissions only.
    init(isReadOnly: Bool) throws {
      let fd = unsafe clinux_memfd("disk")
      guard fd >= 0 else { throw Errno(rawValue: -fd) }
      // Small enough for sums to be around its end.
      let bytes = 32 * 512
      guard ftruncate(fd, off_t(bytes)) == 0 else { throw Errno(rawValue: errno) }
      file = try BlockFile(path: "/proc/self/fd/\(fd)", isReadOnly: isReadOnly)
      io = try SteppedIO(bytes: bytes, isReadOnly: isReadOnly)
    }
  }

  // Everything here is done by libFuzzer's thread.
  private let disks: [Disk]
  private var io: SteppedIO
  private var requests: BlockQueue<Chain>
  /// What was writable when requests were fetched that may not be finished yet; nil where that does not tell.
  private var buffers: [WritableBuffers?] = []

  let type = DeviceType.block

  init() throws {
    disks = [try Disk(isReadOnly: false), try Disk(isReadOnly: true)]
    io = disks[0].io
    requests = BlockDeviceUnderTest.queue(disks[0])
  }

  private static func queue(_ disk: Disk) -> BlockQueue<Chain> {
    BlockQueue(index: 0, medium: BlockMedium(disk.file, id: Array("fuzz".utf8)), io: disk.io)
  }

  func begin(_ input: FuzzInput) {
    let disk = disks[input.rounds & 128 == 0 ? 0 : 1]
    io = disk.io
    io.begin()
    requests = BlockDeviceUnderTest.queue(disk)
    let offered: [Features] = [.blockFlush, .blockDiscard, .blockWriteZeroes]
    requests.start(features: offered.enumerated().reduce([]) { input.lag & 1 << $1.0 == 0 ? $0.union($1.1) : $0 })
    buffers = []
  }

  func process(_ chain: consuming Chain, queue: Int) { requests.process(chain) }

  func service(queue: Int) -> Int { requests.service() }

  func willServe(_ buffers: WritableBuffers?) {
    if requests.inFlight == 0 { self.buffers = [] }
    self.buffers.append(buffers)
  }

  func served(in memory: FuzzMemory) {
    for buffers in buffers {
      if let buffers { buffers.allow(in: memory) } else { memory.allowAll() }
    }
  }

  func step(_ r: Record, in memory: FuzzMemory?) { io.step(r) }

  func finish() {
    io.finish()
    var looks = 0
    while requests.inFlight > 0 {
      _ = requests.service()
      looks += 1
      Oracle.require(looks < 100_000, "\(requests.inFlight) requests do not end")
    }
  }
}
