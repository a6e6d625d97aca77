import Peers
import Testing

@testable import vdpa_bench

@Suite struct CellPlanTests {
  @Test("The full comparison has every combination of the table once: 12 cells one way, 24 of loopback")
  func full() {
    let plans = CellPlan.all(
      ports: Port.allCases, formats: [.split, .packed], sizes: [64, 512, 1518], mergeable: [true, false],
      inOrder: [true, false])
    // Loopback: 2 formats, mergeable or not, in order or not, 3 sizes.
    #expect(plans.count { $0.port == .loopback } == 24)
    #expect(plans.count { $0.port != .loopback } == 12)
    #expect(Set(plans).count == plans.count && Set(plans.map(\.name)).count == plans.count)
  }

  @Test("A sink and a source are measured with what drivers have by themselves, whatever is said for loopback")
  func oneDirection() {
    let plans = CellPlan.all(
      ports: [.sink, .source], formats: [.packed], sizes: [64], mergeable: [false], inOrder: [false, true])
    #expect(plans.count == 2 && plans.allSatisfy { $0.isMergeable && $0.isInOrder })
  }
}
