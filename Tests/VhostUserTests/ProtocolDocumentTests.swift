import DocumentTestSupport
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// `docs/protocol.md` has a row for everything that the protocol has, says of it what the code does, and names its tests.
@Suite struct ProtocolDocumentTests {
  private let document: TestedDocument

  init() throws { document = try TestedDocument("protocol.md") }

  @Test("Every test that it names is there")
  func everyTestExists() {
    #expect(document.names.count > 40)
    #expect(document.missing.isEmpty)
  }

  @Test(
    "Every request of the front-end has a row with payload, descriptors, answer, need and state as the code has them")
  func requests() {
    for request in FrontendRequest.allCases {
      let cells = cells(of: request)
      #expect(document.rows(cells).count == 1, "| \(cells) |")
    }
  }

  @Test("Every request of the back-end has such a row", arguments: BackendRequest.allCases)
  func backendRequests(request: BackendRequest) throws {
    let rule = try #require(BackendRule.table[request])
    let cells = [
      "\(request.rawValue)", name(request), "\(rule.payload)", range(rule.descriptors),
      needs(accepted: rule.accepted.bits, negotiated: rule.negotiated),
    ].joined(separator: " | ")
    #expect(document.rows(cells).count == 1, "| \(cells) |")
  }

  @Test(
    "Every request and every protocol feature has a row that compares, with a test or the word that there is none yet")
  func comparison() {
    let names =
      FrontendRequest.allCases.map { ("\($0.rawValue)", name($0)) }
      + BackendRequest.allCases.map { ("B\($0.rawValue)", name($0)) }
      + (UInt64(0)..<24).map { ("PF\($0)", name(ProtocolFeatures(rawValue: 1 << $0))) }
    for (number, name) in names {
      let rows = document.rows(number, name).filter { $0.contains("Tests.") || $0.hasSuffix("| none yet |") }
      #expect(rows.count == 1, "| \(number) | \(name) | … |")
      // What, this project, three others, the tests.
      for row in rows { #expect(row.split(separator: "|").count == 7, "\(row)") }
    }
  }

  @Test("Every protocol feature's row says whether a socket offers it by itself")
  func offered() {
    for bit in UInt64(0)..<24 {
      let feature = ProtocolFeatures(rawValue: 1 << bit)
      #expect(
        document.rows("PF\(bit)", name(feature), offer(of: feature)).count == 1, "\(feature): \(offer(of: feature))")
    }
  }

  // MARK: Cells

  /// Without its number.
  private func name(_ thing: some CustomStringConvertible) -> String {
    thing.description.split(separator: " ").first.map(String.init) ?? ""
  }

  private func cells(of request: FrontendRequest) -> String {
    let start = ["\(request.rawValue)", name(request)]
    guard let rule = RequestRule.table[request] else {
      return (start + ["–", "–", "refused", "–", RequestRule.refused[request] ?? ""]).joined(separator: " | ")
    }
    let payload =
      switch rule.payload {
      case .exactly(let count): "\(count)"
      case .between(let counts): range(counts)
      }
    let answer =
      switch rule.answer {
      case .acknowledgement: "ack"
      case .result: "result"
      case .payload: "payload"
      case .configuration: "same size"
      }
    let legality =
      switch rule.legality {
      case .always: "always"
      case .ringStopped: "its ring stopped"
      case .suspended: "all rings stopped"
      }
    let needs = needs(
      offered: rule.offered.bits, accepted: rule.accepted.bits, negotiated: rule.negotiated, replacedBy: rule.replacedBy
    )
    return (start + [payload, range(rule.descriptors), answer, needs, legality]).joined(separator: " | ")
  }

  private func range(_ range: ClosedRange<Int>) -> String {
    range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)–\(range.upperBound)"
  }

  private func needs(
    offered: [Int] = [], accepted: [Int], negotiated: ProtocolFeatures, replacedBy: ProtocolFeatures = []
  ) -> String {
    var parts: [String] = []
    parts += offered.map { "bit \($0) offered" } + accepted.map { "bit \($0) accepted" }
    if !negotiated.isEmpty { parts.append("\(negotiated)") }
    if !replacedBy.isEmpty { parts.append("not \(replacedBy)") }
    return parts.isEmpty ? "–" : parts.joined(separator: ", ")
  }

  private func offer(of feature: ProtocolFeatures) -> String {
    if SessionOffer.sessionProtocolFeatures.contains(feature) { return "offered" }
    if SessionOffer.deviceProtocolFeatures.contains(feature) { return "where the device has it" }
    if SessionOffer.optionalProtocolFeatures.contains(feature) { return "if enabled" }
    return "never"
  }
}
