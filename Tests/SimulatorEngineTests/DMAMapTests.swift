import Testing
import Virtio

@testable import SimulatorEngine

struct DMAMapTests {
  private func ranges(_ sizes: [Int] = [8192, 4096]) throws -> [AddressMap.Range] {
    try TestGuest(regions: sizes).memory().addressMap.ranges
  }

  private func code(_ body: () throws -> Void) -> SimulatorError.Code? {
    #expect(throws: SimulatorError.self, performing: body)?.code
  }

  @Test func whatIsMappedIsThereAndNothingElse() throws {
    let (map, ranges) = (DMAMap(), try ranges())
    try map.map(ranges[1])
    try map.map(ranges[0])
    #expect(map.ranges.map(\.start) == ranges.map(\.start))
    var view = map.addressMap.view
    let (all, more, before) = (
      view.covers(ranges[0].start, length: 8192, for: .readWrite),
      view.covers(ranges[0].start, length: 8193, for: .read), view.covers(ranges[0].start - 1, length: 1, for: .read)
    )
    #expect(all)
    #expect(!more)
    #expect(!before)
  }

  @Test func anOverlapIsRefusedAndNamed() throws {
    let (map, ranges) = (DMAMap(), try ranges())
    try map.map(ranges[0])
    let error = #expect(throws: SimulatorError.self) { try map.map(ranges[0].limited(to: .read)) }
    #expect(error?.code == .rangeOverlaps)
    #expect(error?.message.contains("0x10000000+0x2000") == true)
    #expect(map.ranges.count == 1)
    #expect(map.ranges.first?.access == .readWrite)
  }

  @Test func onlyWhatWasMappedCanBeUnmapped() throws {
    let (map, ranges) = (DMAMap(), try ranges())
    try map.map(ranges[0])
    #expect(code { try map.unmap(start: ranges[0].start, size: 4096) } == .noSuchRange)
    #expect(code { try map.unmap(start: ranges[0].start + 4096, size: 4096) } == .noSuchRange)
    #expect(code { try map.unmap(start: ranges[1].start, size: 4096) } == .noSuchRange)
    #expect(map.ranges.count == 1)
    try map.unmap(start: ranges[0].start, size: 8192)
    #expect(map.ranges.isEmpty)
    #expect(code { try map.unmap(start: ranges[0].start, size: 8192) } == .noSuchRange)
  }

  @Test func aDomainMapsAllOrNothing() throws {
    let (map, ranges) = (DMAMap(), try ranges())
    let domain = IOMMUDomain(map: map)
    #expect(code { try domain.map([ranges[0], ranges[1], ranges[0]]) } == .rangeOverlaps)
    #expect(map.ranges.isEmpty)
    let odd = try self.ranges([4096, 100])
    #expect(code { try domain.map(odd) } == .rangeNotAligned)
    #expect(map.ranges.isEmpty)
  }

  @Test func aDomainThatCannotFollowIsEmpty() throws {
    let (map, ranges) = (DMAMap(), try ranges())
    let domain = IOMMUDomain(map: map)
    try domain.map([ranges[0]])
    try domain.replace([ranges[0]], by: [ranges[1]])
    #expect(map.ranges.map(\.start) == [ranges[1].start])
    #expect(code { try domain.replace([ranges[0]], by: []) } == .noSuchRange)
    #expect(map.ranges.isEmpty)
  }
}
