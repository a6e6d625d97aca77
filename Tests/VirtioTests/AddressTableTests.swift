import CLinux
import Testing

@testable import Virtio

@Suite struct AddressTableTests {
  /// Ranges of all sizes in all distances: alone in a piece of the directory, many in one, over many, at both ends of the
  /// address space.
  private static let layouts: [[(start: UInt64, size: UInt64)]] = [
    [], [(0, 1)], [(0, .max)], [(.max, 1)], [(1, .max)],
    (0..<509).map { (UInt64($0) * 0x20_0000, 0x20_0000) },
    (0..<509).map { (0x1000 + UInt64($0) * 0x20_1000, 0x20_0000) },
    // Hundreds in one piece, and one far away.
    (0..<300).map { (0x1000 + UInt64($0) * 16, 8) } + [(1 << 60, 1 << 20)],
    (0..<64).map { (UInt64(1) << UInt64($0), min(UInt64(1) << UInt64($0), 3)) },
    [(0, 0xa_0000), (0x10_0000, 0xbff0_0000), (0x1_0000_0000, 0x4000_0000)],
  ]

  @Test(arguments: layouts.indices) func findsWhatAWalkOverAllFinds(_ layout: Int) throws {
    let places = Self.layouts[layout]
    let table = AddressTable(
      places.enumerated().map { i, place in
        unsafe AddressTable.Entry(
          start: place.start, size: place.size, host: UnsafeMutableRawPointer(bitPattern: 0x1000 + i),
          access: i % 3 == 0 ? .readWrite : i % 3 == 1 ? .read : .write)
      })
    defer { table.free() }
    var random = UInt64(layout)
    let borders = places.flatMap { [$0.start, $0.start &+ ($0.size - 1)] } + [0, .max]
    for border in borders {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      for address in [border &- 1, border, border &+ 1, random] {
        let wanted = places.firstIndex { address &- $0.start < $0.size }
        let found = unsafe table.lookup.find(address).pointee
        #expect(found.contains(address) == (wanted != nil) && (wanted.map { places[$0].start } ?? 0) == found.start)
        for access in [AddressMap.Access.read, .write] {
          for length in [1, 2, 9, 4096] {
            let host = table.lookup.whole(at: address, length: length, for: access)
            if let likely = table.lookup.likely(at: address, length: length, for: access) { #expect(likely == host) }
            let isWhole =
              wanted.map { i in
                places[i].size - (address &- places[i].start) >= UInt64(length)
                  && (i % 3 == 0 || (i % 3 == 1) == (access == .read))
              } ?? false
            let offset = host.map { $0 &- UInt64(0x1000 + (wanted ?? 0)) }
            #expect((offset != nil) == isWhole)
            if let wanted, let offset { #expect(offset == address &- places[wanted].start) }
          }
        }
      }
    }
  }

  @Test("A large range is found at once although small ones share its first piece, as below 1 MiB of a PC")
  func theLargestIsLikely() {
    let mebibyte: UInt64 = 1 << 20
    let table = AddressTable(
      [(0, 0xa_0000), (0xc_0000, 0x4_0000), (mebibyte, 3071 * mebibyte), (4096 * mebibyte, 1024 * mebibyte)].map {
        unsafe AddressTable.Entry(
          start: $0, size: $1, host: UnsafeMutableRawPointer(bitPattern: UInt($0) + 0x1000), access: .readWrite)
      })
    defer { table.free() }
    for address in [mebibyte, 100 * mebibyte, 3000 * mebibyte, 4096 * mebibyte, 5000 * mebibyte] {
      #expect(table.lookup.likely(at: address, length: 2048, for: .read) == address + 0x1000)
    }
    for address in [0, 0x1000, 0xc_0000] as [UInt64] {
      #expect(table.lookup.whole(at: address, length: 2048, for: .read) == address + 0x1000)
    }
  }

  @Test func aSlotIsWhatTheCopiesTakeItFor() {
    let (own, copied) = unsafe (MemoryLayout<PacketBurst.Slot>.stride, MemoryLayout<clinux_packet>.stride)
    #expect(own == copied)
  }
}
