import Foundation

/// A page of `docs` that names the tests which prove what it says, as `Suite.test` between backquotes.
package struct TestedDocument {
  /// A test by its suite and its function.
  package struct Name: Hashable, CustomStringConvertible {
    package let suite: String
    package let test: String
    package var description: String { "\(suite).\(test)" }
  }

  package let text: String
  /// The tests that it names.
  package let names: Set<Name>
  private let sources: [String]

  /// - Parameter file: Its name in `docs`.
  package init(_ file: String) throws {
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    text = try String(
      contentsOf: tests.deletingLastPathComponent().appending(path: "docs/\(file)"), encoding: .utf8)
    names = Set(
      text.matches(of: /`([A-Za-z]+Tests)\.([A-Za-z0-9]+)`/).map { Name(suite: String($0.1), test: String($0.2)) })
    var sources: [String] = []
    let files = FileManager.default.enumerator(at: tests, includingPropertiesForKeys: nil)
    while let file = files?.nextObject() as? URL {
      if file.pathExtension == "swift" { sources.append(try String(contentsOf: file, encoding: .utf8)) }
    }
    self.sources = sources
  }

  /// The lines of its tables that begin with these cells.
  package func rows(_ cells: String...) -> [Substring] {
    let start = "| " + cells.joined(separator: " | ") + " |"
    return text.split(separator: "\n").filter { $0.hasPrefix(start) }
  }

  /// The tests that it names and that are not there.
  package var missing: [Name] {
    names.filter { name in
      // A suite may be in several files.
      !sources.contains { file in
        (file.contains("struct \(name.suite) ") || file.contains("extension \(name.suite) "))
          && file.contains("func \(name.test)(")
      }
    }
  }
}
