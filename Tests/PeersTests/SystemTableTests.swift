import Testing

@testable import Peers

struct SystemTableTests {
  @Test("A table is read to its end, however long")
  func whole() throws {
    let text = try #require(SystemTable.text(at: "/proc/self/maps"))
    #expect(text.utf8.count > 8192)
    #expect(text.contains("[stack]"))
    #expect(SystemTable.text(at: "/proc/none") == nil)
  }
}
