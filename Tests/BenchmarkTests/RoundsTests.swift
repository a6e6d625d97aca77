import Testing

@testable import vdpa_bench

@Suite struct RoundsTests {
  @Test("Ratios are those of each round, and their median is not the ratio of the medians")
  func ratios() {
    var rounds: Rounds<RingSide> = [:]
    #expect(rounds[.c].isEmpty && rounds.median(.c) == nil && rounds.ratio(.c, to: .swift) == nil)
    for (c, swift) in [(10.0, 10.0), (30, 10), (20, 40)] {
      rounds.add(c, of: .c)
      rounds.add(swift, of: .swift)
    }
    #expect(rounds[.c] == [10, 30, 20] && rounds.median(.c) == 20 && rounds.median(.swift) == 10)
    #expect(rounds.ratios(.c, to: .swift) == [1, 3, 0.5] && rounds.ratio(.c, to: .swift) == 1)
  }

  @Test("Scripts get what was measured by its name, and nothing of what was not")
  func names() {
    let rounds: Rounds<BlockServer> = [.vdpadPoll: [1, 3, 2], .qsdUring: [4]]
    #expect(rounds.byName == ["vdpad-poll": [1, 3, 2], "qsd-uring": [4]])
    #expect(rounds.mediansByName == ["vdpad-poll": 2, "qsd-uring": 4])
  }

  @Test("A block device is compared with the better of its references in the same round")
  func references() {
    let load = BlockLoad(direction: .read, order: .random, length: 4096, depth: 1)
    var row = BlockReport.Row(load: load)
    #expect(row.ratio(.vdpad) == nil)
    row.rates = [.vdpad: [10, 40, 40], .qsdUring: [10, 10, 80], .qsdThreads: [5, 20, 20]]
    #expect(row.ratio(.vdpad) == 1 && row.ratio(.vdpadPoll) == nil)
  }
}
