import ArgumentParser
import Foundation
import Peers

/// Instructions a packet, which do not depend on what else the machine does.
struct Instructions: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Counts instructions a packet with callgrind, and fails when a case needs more than its limit.",
    discussion: """
      Counted is the device side alone: turns of the ring code (Swift and C) and of whole queue pairs with a port, with \
      bursts of 32 packets, after a lap that is not counted. valgrind does not read all debug information that Swift writes: \
      give it a copy of this program without (objcopy --strip-debug), as scripts/instructions does.
      """)

  @Option(help: "What valgrind is to run.")
  var program: String

  @Option(help: "The file of limits.")
  var limits: String

  @Flag(help: "Writes the limits that follow from what is counted.")
  var update = false

  @Flag(help: "Fails as well when a ratio is above what is wanted.")
  var strict = false

  @Flag(help: "JSON in place of the tables.")
  var json = false

  func run() throws {
    let values = try Callgrind.count(program)
    var counts: [RingSide: [String: Double]] = [:]
    for (item, value) in zip(CountedCase.all, values) { counts[item.side, default: [:]][item.name] = value }
    let swift = counts[.swift] ?? [:]
    let ratios = InstructionRatio.all(counts)
    print(json ? try Instructions.json(counts, ratios) : Instructions.tables(counts, ratios))
    if update {
      try Data(try InstructionLimits(counted: swift).json().utf8).write(to: URL(fileURLWithPath: limits))
      return
    }
    var failures = try InstructionLimits(Data(contentsOf: URL(fileURLWithPath: limits))).violations(by: swift)
    if strict {
      failures += ratios.filter { !$0.isMet }.map {
        "\($0.name): \(Figure.fixed($0.ratio, 2)) times as many instructions; at most \(Figure.fixed($0.limit, 2)) are wanted"
      }
    }
    guard failures.isEmpty else {
      for failure in failures { note("error: \(failure)") }
      throw ExitCode.failure
    }
  }

  static func tables(_ counts: [RingSide: [String: Double]], _ ratios: [InstructionRatio]) -> String {
    var rows = [["instructions a packet", "swift", "c", "swift/c"]]
    for item in CountedCase.all where item.side == .swift {
      let (swift, c) = (counts[.swift]?[item.name], counts[.c]?[item.name])
      let ratio = swift.flatMap { swift in c.map { swift / $0 } }
      rows.append(
        [item.name] + [swift, c].map { $0.map { Figure.fixed($0, 1) } ?? "" }
          + [ratio.map { Figure.fixed($0, 2) } ?? ""])
    }
    let relations =
      [["of instructions", "ratio", "wanted", ""]]
      + ratios.map { ratio in
        [
          ratio.name, Figure.fixed(ratio.ratio, 2), "≤ " + Figure.fixed(ratio.limit, 2),
          ratio.isMet ? "met" : "not met",
        ]
      }
    return textTable(rows) + "\n\n" + textTable(relations)
  }

  private struct Document: Encodable {
    let swift: [String: Double]
    let c: [String: Double]
    let ratios: [String: Double]
  }

  static func json(_ counts: [RingSide: [String: Double]], _ ratios: [InstructionRatio]) throws -> String {
    try jsonText(
      Document(
        swift: counts[.swift] ?? [:], c: counts[.c] ?? [:],
        ratios: Dictionary(ratios.map { ($0.name, $0.ratio) }) { first, _ in first }))
  }
}
