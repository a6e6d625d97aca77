import Foundation
import Peers

/// valgrind's instruction counter, and what it has written down.
enum Callgrind {
  /// Counts the instructions of every case.
  ///
  /// - Parameter program: This program, or a copy of it that valgrind can read.
  /// - Returns: Instructions a packet, one number for each of ``CountedCase/all``.
  /// - Throws: ``PeerError``, when valgrind cannot be run or its output is not as expected.
  static func count(_ program: String) throws -> [Double] {
    let scratch = try ScratchDirectory("callgrind")
    let valgrind = try PeerProcess(
      "valgrind",
      [
        "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*countedTurn*",
        "--dump-before=cring_case_ends", "--callgrind-out-file=\(scratch.file("counts"))", program, "counted-turns",
      ], hint: "package valgrind installs it")
    let status = try valgrind.waitForExit(timeout: .seconds(600))
    let packets = valgrind.output().split(separator: "\n").filter { $0.hasPrefix(CountedTurns.mark) }.compactMap {
      Int($0.dropFirst(CountedTurns.mark.count))
    }
    guard status == .exited(0), packets.count == CountedCase.all.count else {
      throw PeerError(
        .invalidRun, "valgrind has run \(packets.count) of \(CountedCase.all.count) cases (\(status))",
        outputTail: valgrind.outputTail())
    }
    return try packets.enumerated().map { i, packets in
      // The dumps are numbered from 1 on.
      let path = scratch.file("counts.\(i + 1)")
      guard let text = SystemTable.text(at: path), let instructions = total(of: text), instructions > 0 else {
        throw PeerError(
          .badFile, "callgrind has written no count for \"\(CountedCase.all[i].name)\"",
          outputTail: valgrind.outputTail())
      }
      return Double(instructions) / Double(packets)
    }
  }

  /// The sum of all costs of a dump.
  static func total(of dump: String) -> Int? {
    for line in dump.split(separator: "\n") where line.hasPrefix("summary: ") || line.hasPrefix("totals: ") {
      return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    }
    return nil
  }
}
