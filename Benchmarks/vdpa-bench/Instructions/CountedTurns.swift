import ArgumentParser
import CRingLoop

/// What ``Instructions`` has callgrind run.
struct CountedTurns: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "counted-turns", abstract: "Runs every counted case once, and says how many packets it had.",
    shouldDisplay: false)

  /// What the lines begin with that are not callgrind's own.
  static let mark = "counted: "

  func run() throws {
    for item in CountedCase.all {
      let packets = try item.run()
      // Here callgrind writes down what it has counted, and begins anew.
      cring_case_ends()
      print("\(CountedTurns.mark)\(packets)")
    }
  }
}
