import Glibc
import Testing
import VDPA
import Virtio

struct DriverMemoryTests {
  @Test("Pieces are aligned, apart from each other, in one region, and zero")
  func pieces() throws {
    let memory = try DriverMemory(regionSizes: [4096, 1, 100_000])
    #expect(memory.regions.map(\.region.size) == [4096, 4096, 102_400])
    var taken: [Range<UInt64>] = []
    for (count, alignment) in [(16, 16), (4000, 4096), (1, 1), (4096, 2048), (2048, 2048), (50_000, 4096)] {
      let address = try memory.allocate(count, alignment: alignment)
      let range = address..<address + UInt64(count)
      #expect(address % UInt64(alignment) == 0 && !taken.contains { $0.overlaps(range) })
      #expect(memory.regions.contains { $0.region.guestAddress <= address && range.upperBound <= $0.region.guestEnd })
      #expect(memory.read(address, count: count).allSatisfy { $0 == 0 })
      memory.write(Array(repeating: UInt8(taken.count + 1), count: count), at: address)
      taken.append(range)
    }
    for (i, range) in taken.enumerated() {
      #expect(memory.read(range.lowerBound, count: range.count).allSatisfy { $0 == UInt8(i + 1) })
    }
    let error = try #require(throws: VDPAError.self) { try memory.allocate(60_000) }
    #expect(error.code == .noResources)
  }

  @Test("Each region has its turn, as long as it has room")
  func turns() throws {
    let memory = try DriverMemory(regionSizes: [8192, 4096, 8192])
    let starts = memory.regions.map(\.region.guestAddress)
    let taken = try (0..<5).map { _ in try memory.allocate(4096) }
    #expect(taken == [starts[0], starts[1], starts[2], starts[0] + 4096, starts[2] + 4096])
  }

  @Test("What is shared is the same memory for whoever maps its files, with no region at another's end")
  func shared() throws {
    let memory = try DriverMemory(regionSizes: [8192, 8192])
    let other = try GuestMemory.table(memory.regions.map { ($0.region, $0.file.descriptor) })
    for item in memory.regions {
      memory.write([0x34, 0x12], at: item.region.guestAddress + 100)
      var view = other.addressMap.view
      let value = view.readUInt16(at: item.region.guestAddress + 100)
      #expect(value == 0x1234)
      let isCovered = view.covers(item.region.guestEnd, length: 1, for: .read)
      #expect(!isCovered)
    }
  }

  @Test("Whoever is given the files, cannot take the memory away")
  func sealed() throws {
    let memory = try DriverMemory(regionSizes: [8192])
    #expect(ftruncate(memory.regions[0].file.rawValue, 0) == -1 && errno == EPERM)
    #expect(ftruncate(memory.regions[0].file.rawValue, 1 << 20) == -1 && errno == EPERM)
  }
}
