import Conformance
import Datapath
import Testing
import VDPA
import Virtio

/// For each rule there is a device that does exactly that wrong.
struct WrongEngineTests {
  private func report(_ fault: Wrong.Fault?) throws -> ConformanceReport {
    let software = try SoftwareEngine()
    defer { software.stop() }
    var suite = ConformanceSuite(
      driver: WrongDriver(fault: fault), address: EngineAddress("here"), type: .net, software: software,
      softwareParameters: ["port": "loopback"])
    suite.patience = .seconds(fault == nil ? 30 : 3)
    return suite.run()
  }

  @Test("The device is right as long as nothing is made wrong")
  func right() throws {
    let report = try report(nil)
    #expect(report.isClean && report.skipped.isEmpty, "\(report)")
  }

  @Test("What is wrong is found by the rule for it, and by no other", arguments: Wrong.all)
  func wrong(_ wrong: Wrong) throws {
    let report = try report(wrong.fault)
    #expect(Set(report.failures.map(\.rule.id)) == Set(wrong.rules), "\(report)")
    #expect(report.skipped.isEmpty, "\(report)")
  }

  @Test("Each rule is broken by some device")
  func complete() {
    #expect(Set(Wrong.all.flatMap(\.rules)) == Set(Conformance.rules.map(\.id)))
    #expect(Set(Wrong.all.map(\.fault)) == Set(Wrong.Fault.allCases))
  }
}
