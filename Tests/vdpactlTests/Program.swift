import Foundation
import Testing

/// A run of a program to its end: what it printed and how it ended.
struct Program {
  let output: String
  let errors: String
  let status: Int32

  /// Runs the `vdpactl` that was built with these tests.
  static func vdpactl(_ arguments: String...) throws -> Program {
    try Program(vdpactlPath(), arguments)
  }

  /// The program stands beside the test bundle, whose path SwiftPM gives the test runner.
  static func vdpactlPath() throws -> String {
    let runner = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let path = URL(fileURLWithPath: runner).deletingLastPathComponent().appendingPathComponent("vdpactl").path
    try #require(FileManager.default.isExecutableFile(atPath: path), "no program at \(path): build it first")
    return path
  }

  /// Runs the program at `path`.
  init(_ path: String, _ arguments: [String]) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    // Files and not pipes: a program that prints much must not wait for a reader.
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("run-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let files = [directory.appendingPathComponent("out"), directory.appendingPathComponent("err")]
    for file in files { try Data().write(to: file) }
    process.standardOutput = try FileHandle(forWritingTo: files[0])
    process.standardError = try FileHandle(forWritingTo: files[1])
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    output = String(decoding: try Data(contentsOf: files[0]), as: UTF8.self)
    errors = String(decoding: try Data(contentsOf: files[1]), as: UTF8.self)
    status = process.terminationStatus
  }

  /// The output as a JSON object.
  func object() throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
  }
}
