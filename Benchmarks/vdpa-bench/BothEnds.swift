import ArgumentParser
import Peers

/// Where the two ends of a measurement run, and which daemon is one of them.
struct BothEnds: ParsableArguments {
  @Option(help: "The CPU of the back-end.")
  var backendCPU = PeerCPU.backEnd

  @Option(help: "The CPU of the front-end.")
  var frontendCPU = PeerCPU.frontEnd

  @Option(help: "The daemon (default: the vdpad beside this program).")
  var vdpad: String?

  func validate() throws {
    for cpu in [backendCPU, frontendCPU] where !PeerCPU.allowed.contains(cpu) {
      throw ValidationError("CPU \(cpu) is not one this process may run on (\(PeerCPU.allowed))")
    }
  }

  /// The daemon's program.
  func daemon() throws -> String { try vdpad ?? PeerProcess.builtProgram("vdpad") }

  /// Tells whoever measures that the ends are in each other's way, if they are.
  func warnIfShared() {
    if backendCPU == frontendCPU { note("both ends share CPU \(backendCPU): the figures say little") }
  }
}
