import Testing

@testable import Virtio

@Suite struct AddressMapTests {
  static let places: [TestMemory.Place] = [
    .init(start: 0x3000, size: 0x1000), .init(start: 0x4000, size: 0x800), .init(start: 0x8000, size: 0x1000),
    .init(start: 0xffff_ffff_ffff_f000, size: 0xfff),
  ]

  @Test func rangesAreSortedAndMayNotOverlap() throws {
    let memory = try TestMemory(Self.places)
    let ranges = memory.guest.addressMap.ranges
    #expect(try AddressMap(ranges: ranges.reversed()).ranges.map(\.start) == ranges.map(\.start))
    #expect(try AddressMap(ranges: []).ranges.isEmpty && AddressMap.empty.ranges.isEmpty)
    let error = #expect(throws: VirtioError.self) { try AddressMap(ranges: ranges + [ranges[1].limited(to: .read)]) }
    #expect(error?.code == .regionsOverlap)
  }

  /// Every address around the borders, every length around the ends, against counting bytes one by one.
  @Test func translation() throws {
    let memory = try TestMemory(Self.places)
    let ranges = memory.guest.addressMap.ranges
    let map = try AddressMap(ranges: [
      ranges[0], ranges[1].limited(to: .read), ranges[2].limited(to: .write), ranges[3],
    ])
    let access: [AddressMap.Access] = [.readWrite, .read, .write, .readWrite]
    func allows(_ address: UInt64, _ wanted: AddressMap.Access) -> Bool {
      Self.places.indices.contains { i in
        address >= Self.places[i].start && address < Self.places[i].end && access[i].isSuperset(of: wanted)
      }
    }
    var view = map.view
    var checked = 0
    let borders = Self.places.flatMap { [$0.start, $0.end] } + [0, .max]
    for border in borders {
      for delta in -3...3 {
        let address = border &+ UInt64(bitPattern: Int64(delta))
        for length in [0, 1, 2, 3, 5, 0x800, 0x1000] as [UInt64] {
          for wanted in [AddressMap.Access.read, .write, .readWrite] {
            let expected = (0..<length).allSatisfy { i in
              !address.addingReportingOverflow(i).overflow && allows(address &+ i, wanted)
            }
            if view.covers(address, length: length, for: wanted) != expected {
              Issue.record("\(address) \(length) \(wanted)")
            }
            let isOne = Self.places.contains { $0.start <= address && address < $0.end && length <= $0.end - address }
            let whole = unsafe view.contiguous(at: address, length: Int(length), for: wanted) != nil
            if whole != (isOne && allows(address, wanted)) { Issue.record("contiguous \(address) \(length) \(wanted)") }
            checked += 1
          }
        }
      }
    }
    #expect(checked > 1000)
    #expect(!view.covers(0x3000, length: .max, for: .read) && !view.covers(.max - 1, length: .max, for: .read))
    withExtendedLifetime(map) {}
  }

  @Test func readingAcrossRanges() throws {
    let memory = try TestMemory(Self.places)
    var view = memory.view
    var bytes = [UInt8](repeating: 0, count: 0x1800)
    let image = memory.copy()
    func read(_ address: UInt64, _ length: Int) -> Bool {
      unsafe bytes.withUnsafeMutableBytes { target in
        guard let start = target.baseAddress else { return false }
        return unsafe view.read(address, length: length, to: start)
      }
    }
    #expect(read(0x3000, 0x1800) && bytes == memory.read(0x3000, 0x1800))
    #expect(read(0x3ffe, 4) && bytes.starts(with: memory.read(0x3ffe, 4)))
    #expect(read(0x5000, 0) && !read(0x4800, 1) && !read(0x47ff, 2) && !read(0x7fff, 2) && !read(0x2fff, 2))
    #expect(memory.differences(from: image) == [])
  }
}
