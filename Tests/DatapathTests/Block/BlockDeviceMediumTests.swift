import Glibc
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Media that only root can make: a block device of this machine, and a file system that is full.
@Suite struct BlockDeviceMediumTests {
  private let done = BlockQueueUnderTest.done

  @Test(
    "A block device is served like a file, whatever its block size",
    .enabled(if: LoopDevice.isPossible, "needs root and loop devices"), arguments: IOUnderTest.allCases, [512, 4096])
  func blockDevice(way: IOUnderTest, blockSize: Int) throws {
    let backing = try TestFile(sectors: 8192, in: .disk)
    let loop = try LoopDevice(backing.path, sectorSize: blockSize)
    let device = try TestFile(device: loop.path)
    let content = pattern(8192 * 512)
    try backing.write(content)
    do {
      let bench = try BlockQueueUnderTest(device) { try ScriptedIO(over: way.make($0)) }
      let io = try #require(bench.io as? ScriptedIO)
      let file = bench.medium.file
      #expect(file.isBlockDevice && file.sectors == 8192 && file.logicalBlock == UInt32(blockSize))
      #expect(bench.medium.configuration(queues: 1).blockSize == UInt32(blockSize))
      #expect(throws: DatapathError.self) { try device.open() }

      #expect(try bench.read(8, sectors: 16).data == Array(content[4096..<12288]))
      let data = pattern(8192, seed: 77)
      #expect(try bench.write(8, data) == done(.ok))
      // Less than a block of it.
      #expect(try bench.write(25, pattern(512, seed: 9)) == done(.ok))
      #expect(try bench.flush() == done(.ok))
      #expect(try backing.read(at: 4096, count: 8192) == data)
      #expect(try backing.read(at: 25 * 512, count: 512) == pattern(512, seed: 9))
      #expect(try backing.read(at: 24 * 512, count: 512) == Array(content[24 * 512..<25 * 512]))

      for (sector, count, flags) in [(64, 64, []), (256, 64, .unmap), (1001, 3, []), (2001, 9, .unmap)]
        as [(UInt64, UInt32, BlockSegment.Flags)]
      {
        #expect(
          try bench.segments(.writeZeroes, [BlockSegment(sector: sector, count: count, flags: flags)]) == done(.ok))
        #expect(try bench.read(sector, sectors: Int(count)).data == Array(repeating: 0, count: Int(count) * 512))
        #expect(
          try bench.read(sector - 1).data == Array(content[Int(sector - 1) * 512..<Int(sector) * 512]), "\(sector)")
        let end = Int(sector) + Int(count)
        #expect(try bench.read(UInt64(end)).data == Array(content[end * 512..<(end + 1) * 512]), "\(sector)")
      }
      let before = io.operations.count
      let full = backing.allocated
      let segments = [BlockSegment(sector: 4096, count: 1024), BlockSegment(sector: 6001, count: 3)]
      #expect(try bench.segments(.discard, segments) == done(.ok))
      #expect(io.operations.dropFirst(before).map(\.kind) == [.discard, .discard])
      #expect(backing.allocated < full)
      #expect(bench.told.all.isEmpty, "\(bench.told.all)")
    }
    // It has been let go of.
    #expect(try device.open(isReadOnly: true).isBlockDevice)
  }

  @Test(
    "A full file system gives the guest an I/O error and the operator the reason; what is there can be read",
    .enabled(if: getuid() == 0, "only root can mount"), arguments: IOUnderTest.allCases)
  func full(way: IOUnderTest) throws {
    let system = try SmallFileSystem(bytes: 65536)
    let file = try TestFile(file: system.path + "/disk.img", bytes: 1 << 20)
    let bench = try BlockQueueUnderTest(file) { try way.make($0) }
    #expect(try bench.write(0, pattern(32768)) == done(.ok))
    #expect(try bench.write(128, pattern(65536)) == done(.ioError))
    #expect(bench.told.all.count == 1 && bench.told.all[0].contains("No space left on device"), "\(bench.told.all)")
    #expect(try bench.segments(.writeZeroes, [BlockSegment(sector: 512, count: 512)]) == done(.ioError))
    #expect(try bench.read(0, sectors: 64).data == pattern(32768))
    // With space given back it goes on.
    #expect(try bench.segments(.discard, [BlockSegment(sector: 128, count: 1024)]) == done(.ok))
    #expect(try bench.write(64, pattern(16384)) == done(.ok))
  }
}
