import Conformance
import DocumentTestSupport
import Testing

/// `docs/conformance.md` lists the rules, in their order.
struct ConformanceDocumentTests {
  @Test func rules() throws {
    let rows = try TestedDocument("conformance.md").text.split(separator: "\n").filter { $0.hasPrefix("| `") }
    #expect(rows.map(String.init) == Conformance.rules.map { "| `\($0.id)` | \($0.title) |" })
  }
}
