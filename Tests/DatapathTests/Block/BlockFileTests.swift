import CLinux
import Glibc
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import Datapath

@Suite struct BlockFileTests {
  /// The reason why a file is refused.
  private func refusal(_ path: String, isReadOnly: Bool = false) throws -> String {
    let error = try #require(throws: DatapathError.self) { try BlockFile(path: path, isReadOnly: isReadOnly) }
    #expect(error.code == .badFile)
    #expect(error.description.hasPrefix("\(path): "), "\(error)")
    return error.description
  }

  @Test("A file's size is its capacity in sectors", arguments: [1, 2, 7, 8, 9, 1 << 20, 1 << 40])
  func capacity(sectors: Int) throws {
    for place in TestFile.Place.allCases where place == .memory || sectors <= 1 << 30 {
      let file = try TestFile(sectors: sectors, in: place).open()
      #expect(file.sectors == UInt64(sectors) && !file.isBlockDevice && !file.isReadOnly)
      #expect(file.logicalBlock == 512 && file.physicalBlock == 4096)
    }
  }

  @Test(
    "A size that is not a number of sectors is refused in words", arguments: [1, 511, 513, 1023, 4095, 1 << 30 | 1])
  func oddSize(bytes: Int) throws {
    let file = try TestFile(bytes: bytes)
    #expect(try refusal(file.path).contains("\(bytes) bytes is not a multiple of 512"))
    #expect(try refusal(file.path, isReadOnly: true).contains("truncate -s %512"))
  }

  @Test("An empty file is refused")
  func empty() throws {
    let file = try TestFile(bytes: 0)
    #expect(try refusal(file.path).contains("it is empty"))
  }

  @Test("What is no medium is refused, and a pipe without waiting for its other end")
  func otherKinds() throws {
    #expect(try refusal("/tmp").contains("it cannot be opened: Is a directory"))
    #expect(try refusal("/tmp", isReadOnly: true).contains("neither a regular file nor a block device"))
    #expect(try refusal("/dev/full").contains("neither a regular file nor a block device"))
    #expect(try refusal("/does/not/exist").contains("No such file or directory"))
    #expect(try refusal("/proc/self/exe").contains("Text file busy"))
    let pipe = "/tmp/vdpa-\(getpid()).pipe"
    try #require(unsafe mkfifo(pipe, 0o600) == 0)
    defer { unsafe unlink(pipe) }
    for isReadOnly in [true, false] {
      #expect(try refusal(pipe, isReadOnly: isReadOnly).contains("neither a regular file nor a block device"))
    }
  }

  @Test("What may be written is open to one device alone; what is only read is open to many, and to no writer")
  func locks() throws {
    let file = try TestFile()
    for _ in 0..<2 {
      // The second time around the locks of the first have gone with its files.
      let writer = try file.open()
      #expect(try refusal(file.path).contains("in use already"))
      #expect(try refusal(file.path, isReadOnly: true).contains("somebody is writing to it"))
      _ = consume writer
      let readers = [try file.open(isReadOnly: true), try file.open(isReadOnly: true)]
      #expect(try refusal(file.path).contains("in use already"))
      _ = consume readers
    }
  }

  @Test("Refused files are closed again")
  func descriptors() throws {
    let file = try TestFile(bytes: 513)
    let writer = try TestFile()
    let held = try writer.open()
    let first = dup(0)
    close(first)
    for _ in 0..<3 {
      _ = try? BlockFile(path: file.path, isReadOnly: false)
      _ = try? BlockFile(path: "/dev/full", isReadOnly: false)
      _ = try? BlockFile(path: writer.path, isReadOnly: false)
    }
    let last = dup(0)
    close(last)
    #expect(first == last)
    _ = held
  }

  @Test("Reads and writes of it wait: it is not left non-blocking")
  func blocking() throws {
    let file = try TestFile().open()
    #expect(clinux_status_flags(file.descriptor.rawValue) & O_NONBLOCK == 0)
  }

  @Test("Looking whether there can be holes changes nothing", arguments: TestFile.Place.allCases)
  func probing(place: TestFile.Place) throws {
    for sectors in [1, 7, 8, 9] {
      let file = try TestFile(sectors: sectors, in: place)
      let data = pattern(sectors * 512)
      try file.write(data)
      let allocated = file.allocated
      let opened = try file.open()
      #expect(opened.canDiscard)
      #expect(try file.read(count: sectors * 512 + 1) == data)
      #expect(file.allocated == allocated)
      _ = opened
    }
    #expect(try !TestFile(in: place).open(isReadOnly: true).canDiscard)
  }

  @Test("A device on it offers what the file has")
  func features() throws {
    let file = try TestFile(sectors: 1000)
    func medium(isReadOnly: Bool) throws -> BlockMedium {
      BlockMedium(try file.open(isReadOnly: isReadOnly), id: Array("disk".utf8))
    }
    do {
      let writable = try medium(isReadOnly: false)
      #expect(
        writable.features(queues: 1) == [
          .blockSegMax, .blockSize, .blockFlush, .blockTopology, .blockDiscard, .blockWriteZeroes,
        ])
      #expect(writable.features(queues: 2) == writable.features(queues: 1).union(.blockMultiqueue))
      let space = writable.configuration(queues: 4)
      #expect(space.capacity == 1000 && space.blockSize == 512 && space.queueCount == 4 && space.segMax == 126)
      #expect(space.physicalBlockExponent == 3 && space.alignmentOffset == 0 && space.minimumIOSize == 8)
      #expect(space.maxDiscardSectors == 1 << 22 && space.maxDiscardSegments == 16 && space.discardSectorAlignment == 8)
      #expect(space.maxWriteZeroesSectors == 1 << 19 && space.maxWriteZeroesSegments == 16)
      #expect(space.writeZeroesMayUnmap == 1 && space.sizeMax == 0 && space.cylinders == 0)
      #expect(writable.id == Array("disk".utf8) + Array(repeating: 0, count: 16))
    }
    let readOnly = try medium(isReadOnly: true)
    #expect(readOnly.features(queues: 1) == [.blockSegMax, .blockSize, .blockFlush, .blockTopology, .blockReadOnly])
    let space = readOnly.configuration(queues: 1)
    #expect(space.capacity == 1000 && space.maxDiscardSectors == 0 && space.maxWriteZeroesSectors == 0)
    #expect(space.writeZeroesMayUnmap == 0)
  }
}
