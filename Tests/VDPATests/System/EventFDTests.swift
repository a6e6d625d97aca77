import Foundation
import Synchronization
import SystemPackage
import Testing

@testable import VDPA

struct EventFDTests {
  @Test("Signals add up until they are drained")
  func signalsAddUp() throws {
    let fd = try EventFD.make()
    #expect(EventFD.drain(fd) == 0)
    for _ in 0..<3 { #expect(EventFD.signal(fd)) }
    #expect(EventFD.drain(fd) == 3)
    #expect(EventFD.drain(fd) == 0)
  }

  @Test("A peer that fills the count and makes it blocking cannot block whoever signals")
  func fullCountDoesNotBlock() throws {
    #expect(EventFD.neverBlocks)
    let fd = try EventFD.make()
    var most: UInt64 = .max - 1
    #expect(unsafe write(fd.rawValue, &most, 8) == 8)
    #expect(fcntl(fd.rawValue, F_SETFL, 0) == 0)
    // It is signalled already and stays so.
    for _ in 0..<3 { #expect(EventFD.signal(fd)) }
    #expect(EventFD.drain(fd) == UInt64.max)
    #expect(EventFD.signal(fd))
    #expect(EventFD.drain(fd) == 1)
  }

  @Test("Nor one that does both over and over, meanwhile")
  func contested() throws {
    let fd = try EventFD.make()
    let isOver = Atomic<Bool>(false)
    let peer = Thread { [fd] in
      var most: UInt64 = .max - 1
      while !isOver.load(ordering: .relaxed) {
        _ = fcntl(fd.rawValue, F_SETFL, O_NONBLOCK)
        EventFD.drain(fd)
        _ = unsafe write(fd.rawValue, &most, 8)
        _ = fcntl(fd.rawValue, F_SETFL, 0)
      }
    }
    peer.start()
    for _ in 0..<100_000 { #expect(EventFD.signal(fd)) }
    isOver.store(true, ordering: .relaxed)
    while !peer.isFinished { usleep(200) }
  }

  @Test("No signal is lost, however many there are, on several threads")
  func many() throws {
    let fd = try EventFD.make()
    let counts = Mutex<[Int]>([])
    let threads = (0..<4).map { _ in
      Thread { [fd] in
        let count = (0..<20_000).count { _ in EventFD.signal(fd) }
        counts.withLock { $0.append(count) }
      }
    }
    for thread in threads { thread.start() }
    while counts.withLock({ $0.count }) < threads.count { usleep(200) }
    #expect(counts.withLock { $0 } == [20_000, 20_000, 20_000, 20_000])
    #expect(EventFD.drain(fd) == 80_000)
  }

  @Test("Without asynchronous I/O a full count is left alone, and what is no eventfd is never written to")
  func withoutAsynchronousIO() throws {
    let fd = try EventFD.make()
    #expect(EventFD.signalIfRoom(fd))
    #expect(EventFD.drain(fd) == 1)
    var most: UInt64 = .max - 1
    #expect(unsafe write(fd.rawValue, &most, 8) == 8)
    #expect(fcntl(fd.rawValue, F_SETFL, 0) == 0)
    #expect(!EventFD.signalIfRoom(fd))
    #expect(EventFD.drain(fd) == UInt64.max - 1)
    var ends: [CInt] = [0, 0]
    #expect(unsafe pipe(&ends) == 0)
    let pipes = ends.map { OwnedFD(adopting: FileDescriptor(rawValue: $0)) }
    #expect(!EventFD.signal(pipes[1]))
    var entry = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
    #expect(unsafe poll(&entry, 1, 0) == 0)
  }

  @Test("Only an eventfd is taken for one")
  func kinds() throws {
    #expect(try EventFD.make().isEventFD)
    var ends: [CInt] = [0, 0]
    #expect(unsafe pipe(&ends) == 0)
    for end in ends { #expect(!OwnedFD(adopting: FileDescriptor(rawValue: end)).isEventFD) }
    let null = OwnedFD(adopting: try FileDescriptor.open(FilePath("/dev/null"), .readWrite))
    #expect(!null.isEventFD)
    #expect(null.kernelName == "/dev/null")
  }
}
