import ArgumentParser
import Peers
import Testing

@testable import vdpa_bench

@Suite struct BothEndsTests {
  private static let commands = ["throughput", "block", "latency", "fairness"]

  @Test("Every benchmark of two ends takes their CPUs and the daemon, and has CPUs of its own", arguments: commands)
  func options(command: String) throws {
    func ends(_ options: [String]) throws -> BothEnds? {
      switch try VDPABench.parseAsRoot([command] + options) {
      case let command as Throughput: command.ends
      case let command as Block: command.ends
      case let command as Latency: command.ends
      case let command as Fairness: command.ends
      default: nil
      }
    }
    let usual = try #require(try ends([]))
    #expect(usual.backendCPU == PeerCPU.backEnd && usual.frontendCPU == PeerCPU.frontEnd && usual.vdpad == nil)
    let cpu = try #require(PeerCPU.allowed.last)
    let given = try #require(try ends(["--backend-cpu", "\(cpu)", "--frontend-cpu", "\(cpu)", "--vdpad", "/x"]))
    #expect(given.backendCPU == cpu && given.frontendCPU == cpu)
    #expect(try given.daemon() == "/x")
  }

  @Test("A CPU that this process may not run on is refused before anything is measured", arguments: commands)
  func refused(command: String) throws {
    for option in ["--backend-cpu", "--frontend-cpu"] {
      #expect {
        try VDPABench.parseAsRoot([command, option, "99999"])
      } throws: {
        VDPABench.message(for: $0).contains("CPU 99999 is not one this process may run on")
      }
    }
  }
}
