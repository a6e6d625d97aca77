import Foundation
import Testing

/// A program of the system, run to its end.
///
/// - Returns: What it has printed.
@discardableResult
func run(_ program: String, _ arguments: String...) throws -> String {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = [program] + arguments
  process.environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]
  let output = Pipe()
  process.standardOutput = output
  try process.run()
  let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  try #require(process.terminationStatus == 0, "\(program) \(arguments) has failed")
  return text.trimmingCharacters(in: .whitespacesAndNewlines)
}

/// A file system of its own in memory, of a given size.
final class SmallFileSystem {
  let path: String

  init(bytes: Int) throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("vdpa-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    try DatapathTests.run("mount", "-t", "tmpfs", "-o", "size=\(bytes)", "none", path)
  }

  deinit {
    _ = try? DatapathTests.run("umount", path)
    try? FileManager.default.removeItem(atPath: path)
  }
}

/// A block device of this machine on a file.
final class LoopDevice {
  let path: String

  /// Whether this machine lets us make one.
  static let isPossible = getuid() == 0 && FileManager.default.fileExists(atPath: "/dev/loop-control")

  init(_ file: String, sectorSize: Int) throws {
    path = try DatapathTests.run("losetup", "--find", "--show", "--sector-size", "\(sectorSize)", file)
  }

  deinit { _ = try? DatapathTests.run("losetup", "--detach", path) }
}
