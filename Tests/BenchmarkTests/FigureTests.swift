import Peers
import Testing

@testable import vdpa_bench

@Suite struct FigureTests {
  @Test("The median is the value in the middle, or half way between two")
  func median() {
    #expect([Double]().median == nil)
    #expect([3.0].median == 3)
    #expect([5.0, 1, 3].median == 3)
    #expect([4.0, 1, 3, 100].median == 3.5)
  }

  @Test("A cell's ratio is the median of its rounds' own ratios, and its spread a share of the median")
  func cell() throws {
    var cell = Cell(plan: CellPlan(port: .sink, bytes: 64))
    #expect(cell.ratio() == nil && cell.spread(.vdpad) == nil)
    cell.rates = [.vdpad: [10, 30, 20], .dpdk: [10, 10, 40]]
    #expect(cell.ratios() == [1, 3, 0.5] && cell.ratio() == 1)
    #expect(cell.median(.vdpad) == 20 && cell.spread(.vdpad) == 1)
    #expect(cell.ratio(.native) == nil)
  }

  @Test("The summary counts the cells that reach DPDK and names those that do not")
  func summary() {
    var report = ThroughputReport(backEnds: [.vdpad, .dpdk])
    for (bytes, rate) in [(64, 13.0), (512, 10), (1518, 9)] {
      report.cells.append(
        Cell(plan: CellPlan(port: .source, bytes: bytes), rates: [.vdpad: [rate], .dpdk: [10]]))
    }
    #expect(
      report.summary
        == "2 of 3 cells reach 1.0 × DPDK (all are to), 1 reach 1.2 × (half are to)\nbelow 1.0: source split 1518 B")
  }

  @Test("A countdown takes measurements for alike")
  func countdown() {
    let start = ContinuousClock.now
    var countdown = Countdown(4, start: start)
    #expect(countdown.step(at: start + .seconds(50)) == "1 of 4, 2 min 30 s left")
    #expect(countdown.step(at: start + .seconds(60)) == "2 of 4, 1 min 0 s left")
    #expect(countdown.elapsed(at: start + .seconds(61)) == 61)
  }
}
