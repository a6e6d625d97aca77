import Conformance
import Datapath
import Foundation
import SimulatorEngine
import Testing
import VDPA
import Virtio

/// The engines of this package, each by every rule.
struct EngineConformanceTests {
  @Test("The software net device", arguments: Conformance.rules)
  func softwareNet(rule: ConformanceRule) throws {
    let software = try SoftwareEngine()
    defer { software.stop() }
    let suite = ConformanceSuite(software: software, type: .net, queues: 2, parameters: ["port": "loopback"])
    let result = suite.check(rule)
    #expect(result.failure == nil, "\(result)")
    #expect(result.missing == nil, "\(result)")
  }

  @Test("The software block device", arguments: Conformance.rules)
  func softwareBlock(rule: ConformanceRule) throws {
    let path = FileManager.default.temporaryDirectory.path + "/conformance-\(UUID().uuidString).img"
    try Data(count: 1 << 20).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    let software = try SoftwareEngine()
    defer { software.stop() }
    let suite = ConformanceSuite(
      software: software, type: .block, queues: 2, parameters: ["blk-file": path, "shared": "true"])
    let result = suite.check(rule)
    #expect(result.failure == nil, "\(result)")
    #expect(result.missing == nil || rule.id == "lifecycle.disabled", "\(result)")
  }

  @Test(
    "The simulator, whoever translates its addresses", arguments: ["on-chip", "platform"], Conformance.rules)
  func simulator(translation: String, rule: ConformanceRule) throws {
    let software = try SoftwareEngine()
    defer { software.stop() }
    let suite = ConformanceSuite(
      driver: SimulatorDriver(),
      address: EngineAddress("virtual", parameters: ["queues": "2", "translation": translation]), type: .net,
      software: software, softwareParameters: ["port": "loopback"])
    let result = suite.check(rule)
    #expect(result.failure == nil, "\(result)")
    #expect(result.missing == nil, "\(result)")
  }

  @Test("A report says what was skipped and why, and a rule that is not kept")
  func report() throws {
    let suite = ConformanceSuite(
      driver: SimulatorDriver(),
      address: EngineAddress("virtual", parameters: ["queues": "1", "without": "vring-control"]), type: .net)
    let rules = try ["silence.vring", "handover.away", "memory.unmapped", "calls.asked-for"].map {
      try #require(Conformance.rule($0))
    }
    let report = suite.run(rules)
    #expect(report.isClean)
    #expect(
      report.skipped.map(\.missing) == [
        "way to stop single vrings", "second device to hand its rings to", "second queue",
      ])
    let text = "\(report)"
    #expect(text.hasPrefix("simulator at virtual, device 0 (net)\n"))
    #expect(text.hasSuffix("1 rules kept, 0 broken, 3 skipped"))
  }

  @Test("No two rules have the same name")
  func names() {
    #expect(Set(Conformance.rules.map(\.id)).count == Conformance.rules.count)
    #expect(Conformance.rule("nonsense") == nil)
  }
}
