import DocumentTestSupport
import Testing

/// `docs/rings.md` names the test that proves each cell of its tables.
@Suite struct RingsDocumentTests {
  @Test func everyTestExists() throws {
    let document = try TestedDocument("rings.md")
    #expect(document.names.count > 40)
    #expect(document.missing.isEmpty)
  }
}
