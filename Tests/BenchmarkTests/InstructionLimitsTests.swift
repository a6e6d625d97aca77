import Foundation
import Testing

@testable import vdpa_bench

@Suite struct InstructionLimitsTests {
  @Test("Limits are three percent above what was counted, and what is written is read again")
  func written() throws {
    let limits = InstructionLimits(counted: ["a": 100, "b": 33.33])
    #expect(limits.limits == ["a": 103, "b": 34.4])
    #expect(try InstructionLimits(Data(limits.json().utf8)) == limits)
  }

  @Test("More than a limit is a violation that names case, count and limit; so is a case or a limit without the other")
  func violations() {
    let limits = InstructionLimits(counted: ["slower": 100, "same": 100, "gone": 1])
    #expect(limits.violations(by: ["slower": 103, "same": 100, "gone": 1]) == [])
    #expect(
      limits.violations(by: ["slower": 103.2, "same": 103, "new": 1]) == [
        "gone: there is a limit for it, but no such case; --update removes it",
        "new: there is no limit for it; --update writes one",
        "slower: 103.2 instructions a packet; at most 103.0 are allowed",
      ])
  }

  @Test("A dump's count is that of its summary")
  func dump() {
    #expect(Callgrind.total(of: "version: 1\nevents: Ir\nfn=(1)\n0 12\n\ntotals: 4711\n") == 4711)
    #expect(Callgrind.total(of: "summary: 12 0\nfn=(1)\n0 12\n") == 12)
    #expect(Callgrind.total(of: "events: Ir\n") == nil)
  }

  @Test("Every case has a name of its own, and the committed limits are those of all cases in Swift")
  func names() throws {
    let swift = CountedCase.all.filter { $0.side == .swift }.map(\.name)
    #expect(Set(swift).count == swift.count)
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../Benchmarks/instructions.json").standardizedFileURL
    #expect(Set(try InstructionLimits(Data(contentsOf: file)).limits.keys) == Set(swift))
  }

  @Test("Ratios are to C of the same case, and to one region or pair of the same port")
  func ratios() {
    let counts: [RingSide: [String: Double]] = [
      .swift: [
        "rings split dequeue 64 B": 110, "rings split dequeue 64 B, 509 regions": 122, "datapath sink split 64 B": 300,
        "datapath sink split 64 B, 64 pairs": 310,
      ], .c: ["rings split dequeue 64 B": 100],
    ]
    let ratios = InstructionRatio.all(counts)
    #expect(
      ratios.map(\.name) == [
        "rings split dequeue 64 B, to C", "rings split dequeue 64 B, 509 regions, to one region",
        "datapath sink split 64 B, 64 pairs, to one pair",
      ])
    #expect(ratios.map(\.isMet) == [true, false, true])
  }
}
