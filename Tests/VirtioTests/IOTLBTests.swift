import Testing

@testable import Virtio

/// The table of translations against one that has every page on its own.
@Suite struct IOTLBTests {
  private static let page: UInt64 = 4096
  /// Two regions of guest memory of 64 pages that follow each other.
  private static let regions: [Range<UInt64>] = [0x10_0000..<0x14_0000, 0x14_0000..<0x18_0000]

  private struct Page: Equatable {
    var guestAddress: UInt64
    var access: AddressMap.Access
  }

  /// What the table says of each page; records what it must not be.
  private func pages(of table: IOTLB) -> [UInt64: Page] {
    var pages: [UInt64: Page] = [:]
    for (one, next) in zip(table.entries, table.entries.dropFirst()) where one.last >= next.start {
      Issue.record("\(one) overlaps \(next)")
    }
    for entry in table.entries {
      #expect(
        Self.regions.contains { $0.contains(entry.guestAddress) && entry.guestAddress + entry.size <= $0.upperBound })
      for offset in stride(from: 0, to: entry.size, by: Int(Self.page)) {
        pages[entry.start + offset] = Page(guestAddress: entry.guestAddress + offset, access: entry.access)
      }
    }
    return pages
  }

  private func entry(
    _ start: UInt64, _ size: UInt64, to guest: UInt64, _ access: AddressMap.Access = .readWrite
  ) -> IOTLB.Entry { IOTLB.Entry(start: start, size: size, guestAddress: guest, access: access) }

  @Test("Any changes leave what a table of single pages has", arguments: 0..<20)
  func random(seed: UInt64) {
    var random = SplitMix(seed: seed)
    var table = IOTLB()
    var model: [UInt64: Page] = [:]
    for _ in 0..<400 {
      let first = UInt64.random(in: 0..<64, using: &random)
      let count = UInt64.random(in: 1...min(16, 64 - first), using: &random)
      let start = first * Self.page
      if Int.random(in: 0..<3, using: &random) == 0 {
        table.unmap(start, through: start + count * Self.page - 1)
        for i in 0..<count { model[start + i * Self.page] = nil }
      } else {
        let region = Self.regions[Int.random(in: 0..<2, using: &random)]
        // Often what continues a neighbour.
        let place =
          Bool.random(using: &random) ? first : UInt64.random(in: 0...(64 - count), using: &random)
        let guest = region.lowerBound + min(place, 64 - count) * Self.page
        let access = AddressMap.Access(rawValue: UInt8.random(in: 1...3, using: &random))
        table.map(entry(start, count * Self.page, to: guest, access), in: region)
        for i in 0..<count {
          model[start + i * Self.page] = Page(guestAddress: guest + i * Self.page, access: access)
        }
      }
      #expect(pages(of: table) == model)
      for (one, next) in zip(table.entries, table.entries.dropFirst()) where one.isContinued(by: next) {
        // Only where one region ends and the next one begins.
        #expect(next.guestAddress == Self.regions[1].lowerBound)
      }
    }
  }

  @Test("A new range cuts those that it meets, at either side and in the middle")
  func cuts() {
    var table = IOTLB()
    table.map(entry(0x1000, 0x8000, to: 0x10_0000), in: Self.regions[0])
    table.map(entry(0x3000, 0x1000, to: 0x12_0000, .read), in: Self.regions[0])
    #expect(
      table.entries == [
        entry(0x1000, 0x2000, to: 0x10_0000), entry(0x3000, 0x1000, to: 0x12_0000, .read),
        entry(0x4000, 0x5000, to: 0x10_3000),
      ])
    table.map(entry(0x2000, 0x3000, to: 0x13_0000, .write), in: Self.regions[0])
    #expect(
      table.entries == [
        entry(0x1000, 0x1000, to: 0x10_0000), entry(0x2000, 0x3000, to: 0x13_0000, .write),
        entry(0x5000, 0x4000, to: 0x10_4000),
      ])
    // Parts of a page, as an invalidation may name them.
    table.unmap(0x1800, through: 0x27ff)
    #expect(
      table.entries.prefix(2) == [entry(0x1000, 0x800, to: 0x10_0000), entry(0x2800, 0x2800, to: 0x13_0800, .write)])
    table.unmap(0, through: .max)
    #expect(table.entries.isEmpty)
  }

  @Test(
    "Ranges that continue each other are one; for another access, at another place or in another region they are not")
  func merging() {
    var table = IOTLB()
    table.map(entry(0x2000, 0x1000, to: 0x10_2000), in: Self.regions[0])
    table.map(entry(0x4000, 0x1000, to: 0x10_4000), in: Self.regions[0])
    table.map(entry(0x3000, 0x1000, to: 0x10_3000), in: Self.regions[0])
    #expect(table.entries == [entry(0x2000, 0x3000, to: 0x10_2000)])
    table.map(entry(0x5000, 0x1000, to: 0x10_5000, .read), in: Self.regions[0])
    table.map(entry(0x6000, 0x1000, to: 0x10_7000, .read), in: Self.regions[0])
    #expect(table.entries.count == 3)
    table.map(entry(0x2_0000, 0x1000, to: 0x13_f000), in: Self.regions[0])
    table.map(entry(0x2_1000, 0x1000, to: 0x14_0000), in: Self.regions[1])
    #expect(table.entries.count == 5)
  }

  @Test("A table that is full lets other ranges go, but neither the new one nor those of rings")
  func capacity() {
    var table = IOTLB()
    let ring = entry(0, 0x1000, to: 0x10_0000)
    var last = ring
    for i in 0..<UInt64(IOTLB.capacity + 1000) {
      // Every other page, so that none continues another.
      last = entry(i * 0x2000, 0x1000, to: 0x10_0000)
      table.map(last, in: Self.regions[0]) { $0 == ring }
      #expect(table.entries.count <= IOTLB.capacity)
    }
    #expect(table.entries.count == IOTLB.capacity)
    #expect(table.entries.first == ring && table.entries.last == last)
  }
}
