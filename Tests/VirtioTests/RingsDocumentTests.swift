import Foundation
import Testing

/// `docs/rings.md` names the test that proves each cell of its tables.
@Suite struct RingsDocumentTests {
  @Test func everyTestExists() throws {
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let document = try String(
      contentsOf: tests.deletingLastPathComponent().appending(path: "docs/rings.md"), encoding: .utf8)
    var files: [String] = []
    for case let file as URL in try #require(FileManager.default.enumerator(at: tests, includingPropertiesForKeys: nil))
    where file.pathExtension == "swift" {
      files.append(try String(contentsOf: file, encoding: .utf8))
    }
    let names = Set(document.matches(of: /`([A-Za-z]+Tests)\.([A-Za-z]+)`/).map { [String($0.1), String($0.2)] })
    #expect(names.count > 40)
    for name in names {
      // A suite may be in several files.
      let exists = files.contains { file in
        (file.contains("struct \(name[0]) ") || file.contains("extension \(name[0]) "))
          && file.contains("func \(name[1])(")
      }
      #expect(exists, "\(name.joined(separator: "."))")
    }
  }
}
