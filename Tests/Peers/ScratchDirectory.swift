import Foundation

/// A directory of its own under the temporary one, removed with the object.
package final class ScratchDirectory: Sendable {
  package let path: String

  package init(_ name: String = "peers") throws(PeerError) {
    // Short: a Unix socket's path has room for 107 bytes.
    let directory = FileManager.default.temporaryDirectory
      .appendingPathComponent("\(name)-\(String(UInt64.random(in: 0...UInt64.max), radix: 36))")
    path = directory.path
    do {
      try FileManager.default.createDirectory(
        at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw PeerError(.badFile, "no directory \(path): \(error)")
    }
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// The path of a file in it.
  package func file(_ name: String) -> String { "\(path)/\(name)" }
}
