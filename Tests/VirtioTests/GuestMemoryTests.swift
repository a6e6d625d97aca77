import CLinux
import Glibc
import SystemPackage
import Testing

@testable import Virtio

@Suite struct GuestMemoryTests {
  static let page: UInt64 = 4096

  private func region(_ guest: UInt64, _ size: UInt64, user: UInt64, offset: UInt64 = 0) throws -> MemoryRegion {
    try MemoryRegion(guestAddress: guest, size: size, userAddress: user, fileOffset: offset)
  }

  private func code(_ body: () throws -> Void) -> VirtioError.Code? {
    do {
      try body()
      return nil
    } catch { return (error as? VirtioError)?.code }
  }

  /// A name for mappings that no other test has.
  private static func mappings(named name: String) throws -> Int {
    let maps = try unsafe FileDescriptor.open("/proc/self/maps", .readOnly)
    defer { try? maps.close() }
    var text: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = try unsafe piece.withUnsafeMutableBytes { try unsafe maps.read(into: $0) }
      if count == 0 { break }
      text += piece[..<count]
    }
    return String(decoding: text, as: UTF8.self).split(separator: "\n").count { $0.contains("memfd:\(name) ") }
  }

  private func file(_ name: String, size: Int) throws -> FileDescriptor {
    let file = unsafe FileDescriptor(rawValue: clinux_memfd(name))
    try #require(file.rawValue >= 0 && ftruncate(file.rawValue, off_t(size)) == 0)
    return file
  }

  @Test func overlapsAreRefused() throws {
    let file = try file("overlap", size: 1 << 16)
    defer { try? file.close() }
    let one = try region(0x10000, 0x2000, user: 0x50000)
    func add(_ guest: UInt64, _ size: UInt64, user: UInt64) -> VirtioError.Code? {
      code {
        let memory = try GuestMemory.table([(one, file)])
        _ = try memory.adding(try region(guest, size, user: user), file: file)
      }
    }
    #expect(add(0x12000, 0x1000, user: 0x52000) == nil)
    #expect(add(0xf000, 0x1000, user: 0x4f000) == nil)
    for (guest, size) in [(0x11fff, 1), (0x10000, 0x2000), (0xf000, 0x1001), (0xf000, 0x4000), (0x10800, 0x10)] {
      #expect(add(UInt64(guest), UInt64(size), user: 0x90000) == .regionsOverlap, "guest \(guest)")
    }
    for (user, size) in [(0x51fff, 1), (0x50000, 0x2000), (0x4f000, 0x1001), (0x4f000, 0x4000), (0x50800, 0x10)] {
      #expect(add(0x90000, UInt64(size), user: UInt64(user)) == .regionsOverlap, "user \(user)")
    }
    #expect(code { _ = try GuestMemory.table([(one, file), (one, file)]) } == .regionsOverlap)
  }

  @Test func countIsLimited() throws {
    let file = try file("count", size: 4096)
    defer { try? file.close() }
    func table(_ count: Int) throws -> GuestMemory {
      try GuestMemory.table(
        (0..<count).map { i in (try region(UInt64(i) << 20, 4096, user: UInt64(i) << 20), file) })
    }
    let full = try table(509)
    #expect(full.regions.count == 509 && full.guestAddress(ofUser: 508 << 20, length: 4096) == 508 << 20)
    #expect(code { _ = try table(510) } == .tooManyRegions)
    let more = try region(600 << 20, 4096, user: 600 << 20)
    #expect(code { _ = try full.adding(more, file: file) } == .tooManyRegions)
    let fewer = try full.removing(full.regions[7])
    #expect(try fewer.adding(more, file: file).regions.count == 509)
  }

  @Test func addingAndRemoving() throws {
    let file = try file("adding", size: 1 << 16)
    defer { try? file.close() }
    let low = try region(0x1000, 0x1000, user: 0x7000_1000)
    let high = try region(0x9000, 0x1000, user: 0x7000_0000, offset: 0x1000)
    let memory = try GuestMemory.empty.adding(high, file: file).adding(low, file: file)
    #expect(memory.regions == [low, high] && GuestMemory.empty.regions == [])
    // Found without the file offset, as the message has none that counts; every other number counts.
    #expect(try memory.removing(try region(0x9000, 0x1000, user: 0x7000_0000)).regions == [low])
    for (guest, size, user) in [
      (0x9001, 0x1000, 0x7000_0000), (0x9000, 0xfff, 0x7000_0000), (0x9000, 0x1000, 0x7000_0001),
    ] {
      #expect(
        code { _ = try memory.removing(try region(UInt64(guest), UInt64(size), user: UInt64(user))) } == .noSuchRegion)
    }
    #expect(try memory.removing(low).removing(high).regions == [])
    #expect(code { _ = try GuestMemory.empty.removing(low) } == .noSuchRegion)
  }

  /// A snapshot is usable for as long as somebody holds it; the mapping goes with the last, and at once.
  @Test func mappingsLiveAsLongAsSnapshots() throws {
    let name = "snapshots"
    let file = try file(name, size: 1 << 16)
    let one = try region(0x1000, 0x1000, user: 0x1000)
    let two = try region(0x2000, 0x1000, user: 0x2000, offset: 0x3000)
    var old: GuestMemory? = try GuestMemory.table([(one, file), (two, file)])
    try file.close()
    var new: GuestMemory? = try old?.removing(one)
    #expect(try Self.mappings(named: name) == 2)
    if let old {
      var view = old.addressMap.view
      var data = [UInt8](repeating: 1, count: 0x2000)
      let isRead = unsafe data.withUnsafeMutableBytes { bytes in
        guard let start = bytes.baseAddress else { return false }
        return unsafe view.read(0x1000, length: 0x2000, to: start)
      }
      #expect(isRead && data.allSatisfy { $0 == 0 })
    }
    old = nil
    #expect(try Self.mappings(named: name) == 1)
    // The map alone keeps it too.
    let map = new?.addressMap
    new = nil
    #expect(try Self.mappings(named: name) == 1 && map?.ranges.count == 1)
    withExtendedLifetime(map) {}
  }

  @Test func nothingStaysMapped() throws {
    let name = "gone"
    let file = try file(name, size: 1 << 16)
    defer { try? file.close() }
    func use() throws {
      let memory = try GuestMemory.table([(try region(0x1000, 0x1000, user: 0x1000), file)])
      #expect(try Self.mappings(named: name) == 1)
      // Changes that fail leave nothing behind.
      for (guest, offset) in [(0x1800, 0), (0x9000, 0xf001)] {
        #expect(throws: VirtioError.self) {
          _ = try memory.adding(try region(UInt64(guest), 0x1000, user: 0x9000, offset: UInt64(offset)), file: file)
        }
      }
      #expect(try Self.mappings(named: name) == 1)
      withExtendedLifetime(memory) {}
    }
    try use()
    #expect(try Self.mappings(named: name) == 0)
  }

  @Test func userAddresses() throws {
    let file = try file("user", size: 1 << 16)
    defer { try? file.close() }
    let top = UInt64.max - 0x1000
    let memory = try GuestMemory.table([
      (try region(0x1000, 0x1000, user: 0x7000_0000), file), (try region(0x8000, 0x1000, user: 0x7000_1000), file),
      (try region(0x4_0000, 0x1000, user: top), file),
    ])
    func guest(_ user: UInt64, _ length: UInt64) -> UInt64? { memory.guestAddress(ofUser: user, length: length) }
    #expect(guest(0x7000_0000, 1) == 0x1000 && guest(0x7000_0000, 0x1000) == 0x1000)
    #expect(guest(0x7000_0fff, 1) == 0x1fff && guest(0x7000_0fff, 0) == 0x1fff)
    #expect(guest(0x7000_0fff, 2) == nil, "adjacent for the front-end only")
    #expect(guest(0x7000_1000, 0x1000) == 0x8000 && guest(0x7000_1000, 0x1001) == nil)
    #expect(guest(0x6fff_ffff, 1) == nil && guest(0x7000_2000, 1) == nil && guest(0x7000_2000, 0) == nil)
    #expect(guest(0x7000_0000, .max) == nil && guest(0, 1) == nil)
    #expect(guest(top, 0x1000) == 0x4_0000 && guest(UInt64.max - 1, 1) == 0x4_0fff)
    #expect(guest(.max, 1) == nil && guest(UInt64.max - 1, 2) == nil && guest(UInt64.max - 1, .max) == nil)
  }
}
