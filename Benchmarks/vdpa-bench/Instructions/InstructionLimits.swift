import Foundation

/// How many instructions a packet may cost, by case: what a change must not exceed without anybody's noticing.
struct InstructionLimits: Sendable, Equatable {
  var limits: [String: Double]

  /// How much more than was counted is let pass: what a compiler's next release may do by chance.
  static let slack = 1.03

  /// The limits that follow from counts.
  init(counted counts: [String: Double]) {
    limits = counts.mapValues { ($0 * InstructionLimits.slack * 10).rounded(.up) / 10 }
  }

  /// The limits of a file.
  init(_ data: Data) throws { limits = try JSONDecoder().decode([String: Double].self, from: data) }

  func json() throws -> String { try jsonText(limits) + "\n" }

  /// What is wrong with counts, in sentences by name.
  func violations(by counts: [String: Double]) -> [String] {
    Set(limits.keys).union(counts.keys).sorted().compactMap { name in
      switch (counts[name], limits[name]) {
      case (let count?, let limit?):
        count <= limit
          ? nil
          : "\(name): \(Figure.fixed(count, 1)) instructions a packet; at most \(Figure.fixed(limit, 1)) are allowed"
      case (_?, nil): "\(name): there is no limit for it; --update writes one"
      case (nil, _): "\(name): there is a limit for it, but no such case; --update removes it"
      }
    }
  }
}
