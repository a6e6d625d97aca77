import Testing

@testable import Virtio

/// Guest memory as devices see it that are behind the guest's IOMMU.
@Suite struct GuestMemoryTranslationTests {
  /// For the front-end and for the guest the first two follow each other; in this process they need not.
  private static let places = [
    TestMemory.Place(start: 0x10_0000, size: 0x1_0000), TestMemory.Place(start: 0x11_0000, size: 0x8000),
    TestMemory.Place(start: 0x20_0000, size: 0x1_0000),
  ]
  private static let user: UInt64 = 0x10_0000 + TestMemory.userOffset

  private func code(_ body: () throws -> GuestMemory) -> VirtioError.Code? {
    do {
      _ = try body()
      return nil
    } catch {
      return (error as? VirtioError)?.code
    }
  }

  private func bytes(_ memory: GuestMemory, at address: UInt64, _ count: Int) -> [UInt8]? {
    var view = memory.addressMap.view
    var bytes = [UInt8](repeating: 0, count: count)
    let isThere = unsafe bytes.withUnsafeMutableBytes { buffer in
      guard let to = buffer.baseAddress else { return false }
      return unsafe view.read(address, length: count, to: to)
    }
    return isThere ? bytes : nil
  }

  @Test("Behind an IOMMU nothing is there but what is translated, for no more than is allowed")
  func lookup() throws {
    let memory = try TestMemory(Self.places)
    let none = memory.guest.behindIOMMU(true)
    #expect(none.isTranslated && none.addressMap.count == 0 && none.regions == memory.guest.regions)
    #expect(none.behindIOMMU(true) === none && memory.guest.behindIOMMU(false) === memory.guest)
    let one = try none.translating(0x7000_0000, size: 0x2000, to: Self.user + 0x3000, for: .read)
    #expect(bytes(one, at: 0x7000_0ffc, 8) == memory.read(0x10_3ffc, 8))
    #expect(bytes(one, at: 0x10_3000, 1) == nil)
    #expect(one.addressMap.miss(at: 0x7000_0800, length: 0x1800, for: .read) == nil)
    #expect(
      one.addressMap.miss(at: 0x7000_0800, length: 0x1801, for: .read) == .init(address: 0x7000_2000, access: .read))
    #expect(one.addressMap.miss(at: 0x7000_0000, length: 1, for: .write) == .init(address: 0x7000_0000, access: .write))
    #expect(one.behindIOMMU(false).addressMap.count == 3)
    // By the guest's own addresses.
    let two = try one.translating(0x6000_0000, size: 0x1000, to: 0x20_1000, in: .guest, for: .readWrite)
    #expect(bytes(two, at: 0x6000_0010, 8) == memory.read(0x20_1010, 8))
    #expect(two.addressMap.ranges.map(\.guestAddress) == [0x20_1000, 0x10_3000])
  }

  @Test("A translation that spans regions becomes one range in each")
  func acrossRegions() throws {
    let memory = try TestMemory(Self.places)
    let all = try memory.guest.behindIOMMU(true).translating(0, size: 0x1_8000, to: Self.user, for: .readWrite)
    #expect(all.addressMap.ranges.map(\.size) == [0x1_0000, 0x8000])
    // Read over the border piece by piece; what has to be in one place is not there.
    #expect(bytes(all, at: 0xfff8, 16) == memory.read(0x10_fff8, 16))
    var view = all.addressMap.view
    #expect(unsafe view.contiguous(at: 0xfff8, length: 16, for: .read) == nil)
  }

  @Test("What leads out of memory, exceeds the address space or does not keep to pages is refused, and changes nothing")
  func refused() throws {
    let memory = try TestMemory(Self.places)
    let before = try memory.guest.behindIOMMU(true).translating(0x1000, size: 0x1000, to: Self.user, for: .read)
    func refusal(_ address: UInt64, _ size: UInt64, _ target: UInt64) -> VirtioError.Code? {
      code { try before.translating(address, size: size, to: target, for: .readWrite) }
    }
    #expect(refusal(0x1000, 0x1000, Self.user - 0x1000) == .noSuchRegion)
    #expect(refusal(0x1000, 0x1_8001, Self.user) == .noSuchRegion)
    #expect(refusal(0x1000, 0x2000, 0x20_f000 + TestMemory.userOffset) == .noSuchRegion)
    #expect(refusal(0x1000, 0, Self.user) == .regionOutOfRange)
    #expect(refusal(.max - 0xfff, 0x1000, Self.user) == .regionOutOfRange)
    #expect(refusal(.max - 0xfff, 0x2000, Self.user) == .regionOutOfRange)
    #expect(refusal(0x1000, .max, Self.user) == .regionOutOfRange)
    #expect(refusal(0x1000, 0x1000, .max - 0xfff) == .regionOutOfRange)
    #expect(refusal(0x1008, 0x1000, Self.user) == .misalignedTranslation)
    #expect(before.addressMap.ranges.map(\.start) == [0x1000])
  }

  @Test("Taking translations away cuts them, whatever is named; nothing to take away is no change")
  func withdrawing() throws {
    let memory = try TestMemory(Self.places)
    let all = try memory.guest.behindIOMMU(true).translating(0x1000, size: 0x8000, to: Self.user, for: .readWrite)
    #expect(all.withdrawing(0x9000, size: 0x1000) === all && all.withdrawing(0, size: 0x1000) === all)
    #expect(memory.guest.withdrawing(0, size: 0) === memory.guest)
    #expect(all.withdrawing(0x3000, size: 0x1000).addressMap.ranges.map(\.start) == [0x1000, 0x4000])
    #expect(all.withdrawing(0, size: 0).addressMap.count == 0)
    #expect(all.withdrawing(0, size: .max).addressMap.count == 0)
    #expect(all.withdrawing(0x2000, size: .max).addressMap.ranges.map(\.size) == [0x1000])
    #expect(all.withdrawing(0x2000, size: 0).addressMap.ranges.map(\.size) == [0x1000])
    // With no permission at all, nothing is left.
    #expect(try all.translating(0x1000, size: 0x8000, to: Self.user, for: []).addressMap.count == 0)
    #expect(all.forgettingTranslations().addressMap.count == 0 && all.addressMap.count == 1)
  }

  @Test("Translations stay when memory changes, except those of a region that goes")
  func memoryChanges() throws {
    let memory = try TestMemory(Self.places)
    let both = try memory.guest.behindIOMMU(true).translating(0x1000, size: 0x1000, to: Self.user, for: .readWrite)
      .translating(0x2000, size: 0x1000, to: 0x20_0000 + TestMemory.userOffset, for: .readWrite)
    let rest = try both.removing(memory.regions[0])
    #expect(rest.isTranslated && rest.addressMap.ranges.map(\.start) == [0x2000])
    // It was not translated anew.
    let again = try rest.adding(memory.regions[0], file: memory.file)
    #expect(again.addressMap.ranges.map(\.start) == [0x2000])
    let table = try GuestMemory.table([(memory.regions[2], memory.file)], replacing: both)
    #expect(table.addressMap.ranges.map(\.start) == [0x2000])
  }

  @Test("One map keeps all of another one, however it is cut, as long as the same memory is behind it")
  func keepsAll() throws {
    let memory = try TestMemory(Self.places)
    let none = memory.guest.behindIOMMU(true)
    let two = try none.translating(0x1000, size: 0x1000, to: Self.user, for: .readWrite)
      .translating(0x3000, size: 0x1000, to: Self.user + 0x2000, for: .readWrite)
    let one = try two.translating(0x2000, size: 0x1000, to: Self.user + 0x1000, for: .readWrite)
    #expect(one.addressMap.count == 1 && two.addressMap.count == 2)
    #expect(one.addressMap.keepsAll(of: two.addressMap) && one.addressMap.keepsAll(of: none.addressMap))
    #expect(!two.addressMap.keepsAll(of: one.addressMap))
    let less = try one.translating(0x3000, size: 0x1000, to: Self.user + 0x2000, for: .read)
    #expect(!less.addressMap.keepsAll(of: one.addressMap) && one.addressMap.keepsAll(of: less.addressMap))
    let other = try one.translating(0x3000, size: 0x1000, to: Self.user + 0x5000, for: .readWrite)
    #expect(!other.addressMap.keepsAll(of: one.addressMap))
  }

  @Test("What has to be unmapped and mapped in a device's own table is what differs between two snapshots")
  func difference() throws {
    let memory = try TestMemory(Self.places)
    let old = try memory.guest.behindIOMMU(true).translating(0x1000, size: 0x3000, to: Self.user, for: .readWrite)
      .translating(0x8000, size: 0x1000, to: Self.user, for: .read)
    let new = old.withdrawing(0x2000, size: 0x1000)
    let (gone, come) = old.difference(to: new)
    #expect(gone.map(\.start) == [0x1000] && gone.map(\.size) == [0x3000])
    #expect(come.map(\.start) == [0x1000, 0x3000] && come.map(\.size) == [0x1000, 0x1000])
    #expect(come.map(\.guestAddress) == [0x10_0000, 0x10_2000])
    let same = old.difference(to: old)
    #expect(same.gone.isEmpty && same.come.isEmpty)
    // What a device maps by these ranges is the same memory.
    let map = try AddressMap(ranges: new.addressMap.ranges)
    #expect(map.keepsAll(of: new.addressMap) && new.addressMap.keepsAll(of: map))
  }
}
