import Foundation
import SystemPackage
import Testing
import VDPA

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
    let fd = try EventFD.make()
    var most: UInt64 = .max - 1
    #expect(unsafe write(fd.rawValue, &most, 8) == 8)
    #expect(fcntl(fd.rawValue, F_SETFL, 0) == 0)
    #expect(!EventFD.signal(fd))
    #expect(EventFD.drain(fd) == UInt64.max - 1)
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
