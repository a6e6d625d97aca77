import CLinux
import Glibc
import MemoryTestSupport
import Synchronization
import SystemPackage
import Testing

@testable import Virtio

@Suite struct DirtyLogTests {
  /// Bitmaps that begin and end at words, and that do not.
  @Test(arguments: [(64, 0), (37, 0), (64, 8), (37, 4101), (40, 4096), (33, 3)] as [(UInt64, UInt64)])
  func everyPageOfARangeIsNotedAndNoOther(size: UInt64, offset: UInt64) throws {
    let test = try TestLog(bytes: size, offset: offset)
    let log = try test.open()
    for first in [0, 1, 7, 8, 9, 31, 63, 64, 65, 130, 200] as [UInt64] {
      for count in [1, 2, 7, 8, 9, 56, 57, 63, 64, 65, 71, 128, 129, 200] as [UInt64] {
        for (start, end) in [(0, 4096), (4095, 1), (17, 4000)] as [(UInt64, UInt64)] {
          let address = first * 4096 + start
          let last = (first + count - 1) * 4096 + end
          guard last > address else { continue }
          log.mark(address, length: last - address)
          #expect(test.take() == Set(first..<first + count).filter { $0 < size * 8 })
        }
      }
    }
  }

  @Test func nothingIsNotedForNoBytesOrBehindTheEnd() throws {
    let test = try TestLog(bytes: 5)
    let log = try test.open()
    log.mark(0, length: 0)
    log.mark(40 * 4096, length: 1)
    log.mark(.max, length: 1)
    log.mark(.max, length: .max)
    #expect(test.take() == [])
    log.mark(40 * 4096 - 1, length: 2)
    #expect(test.take() == [39])
    log.mark(4096, length: .max)
    #expect(test.take() == Set(1..<40))
  }

  @Test func whatALogCovers() throws {
    let log = try TestLog(bytes: 5).open()
    #expect(log.pages == 40)
    #expect(log.covers(upTo: 0) && log.covers(upTo: 40 * 4096) && !log.covers(upTo: 40 * 4096 + 1))
    #expect(!log.covers(upTo: .max))
  }

  /// A front-end takes bits away while they are set: what is written after it has is noted again.
  @Test func noWriteIsLostToAFrontEndThatClears() throws {
    let pages = 61
    let test = try TestLog(bytes: 8)
    let log = try test.open()
    let memory = try TestMemory([.init(start: 0x1_0000, size: 4096)])
    let isOver = Atomic<Bool>(false)
    let writer = GuestThread(once: {
      for i in 1...300_000 as ClosedRange<UInt64> {
        memory.bytes.write(0x1_0000 + i % UInt64(pages) * 8, i)
        log.mark(i % UInt64(pages) * 4096, length: 1)
      }
      isOver.store(true, ordering: .releasing)
    })
    var copy = [UInt64](repeating: 0, count: pages)
    var rounds = 0
    while true {
      let isLast = isOver.load(ordering: .acquiring)
      for page in test.take() { copy[Int(page)] = memory.bytes.uint64(0x1_0000 + page * 8) }
      rounds += 1
      if isLast { break }
    }
    writer.stop()
    #expect(rounds > 2)
    #expect(copy == (0..<pages).map { memory.bytes.uint64(0x1_0000 + UInt64($0) * 8) })
  }

  @Test func filesThatAreNoLog() throws {
    func code(_ file: FileDescriptor, offset: UInt64 = 0, size: UInt64 = 4096) -> VirtioError.Code? {
      do {
        _ = try DirtyLog(file: file, offset: offset, size: size)
        return nil
      } catch { return error.code }
    }
    let file = unsafe FileDescriptor(rawValue: clinux_memfd("log"))
    defer { try? file.close() }
    try #require(ftruncate(file.rawValue, 8192) == 0)
    #expect(code(file, offset: 4096) == nil && code(file, offset: 100) == nil)
    #expect(code(file, offset: 4097) == .fileTooSmall && code(file, size: 8193) == .fileTooSmall)
    #expect(code(file, offset: .max - 4095, size: 8192) == .regionOutOfRange)
    #expect(code(file, offset: 8192, size: .max - 4095) == .regionOutOfRange)
    #expect(code(file, size: 0) == .regionOutOfRange)
    // No page of it can be written any more (F_ADD_SEALS, F_SEAL_WRITE).
    try #require(fcntl(file.rawValue, 1033, 8) == 0)
    #expect(code(file) == .mappingFailed)
    let (reading, writing) = try FileDescriptor.pipe()
    defer { for end in [reading, writing] { try? end.close() } }
    #expect(code(writing) == .wrongFileSystem)
  }

  @Test func itsFrontEndIsToldWhenItAsked() throws {
    let test = try TestLog(bytes: 8)
    let told = Atomic<Int>(0)
    let log = try test.open()
    log.signal()
    let telling = log.signalling { told.add(1, ordering: .relaxed) }
    telling.mark(4096, length: 1)
    telling.signal()
    #expect(told.load(ordering: .relaxed) == 1 && test.take() == [1])
  }
}
