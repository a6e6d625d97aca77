import Foundation
import Glibc
import SystemPackage

/// A file system in the hands of this process (FUSE) that lets one file be opened and from then on answers nothing: whoever
/// asks anything of that file waits until ``end()``.
final class SilentFileSystem: Sendable {
  static let isPossible = unsafe MountedFolder.isPossible && access("/dev/fuse", R_OK | W_OK) == 0

  private let device: FileDescriptor
  private let folder: MountedFolder
  /// Its only file, open for reading and writing. Closing it waits, too.
  let file: FileDescriptor

  init() throws {
    let device = try FileDescriptor.open(FilePath("/dev/fuse"), .readWrite)
    folder = try MountedFolder(
      "fuse", options: "fd=\(device.rawValue),rootmode=40000,user_id=\(getuid()),group_id=\(getgid())")
    Thread { SilentFileSystem.answer(device) }.start()
    file = try .open(FilePath("\(folder.path)/file"), .readWrite)
    self.device = device
  }

  /// Ends it: whoever waits gets an error.
  func end() {
    try? device.close()
    try? file.close()
  }

  /// Answers what comes before a file is open (linux/fuse.h).
  private static func answer(_ device: FileDescriptor) {
    var request = [UInt8](repeating: 0, count: 1 << 18)
    func number(_ offset: Int, _ count: Int) -> UInt64 {
      request[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    func little(_ value: UInt64, _ bytes: Int) -> [UInt8] {
      (0..<bytes).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
    while true {
      guard let count = try? unsafe request.withUnsafeMutableBytes({ unsafe try device.read(into: $0) }), count >= 40
      else { return }
      let (operation, unique) = (number(4, 4), number(8, 8))
      var body: [UInt8] = []
      var error: Int32 = 0
      func add(_ value: UInt64, _ bytes: Int) { body += little(value, bytes) }
      switch operation {
      case 26:
        // INIT: version 7.31, a write of a page at most.
        for value: UInt64 in [7, 31, 0, 0] { add(value, 4) }
        add(0, 4)
        add(4096, 4)
        body += Array(repeating: 0, count: 64 - body.count)
      case 1:
        // LOOKUP: node 2, nothing of which may be remembered; a regular file of 1 MiB.
        for value: UInt64 in [2, 0, 3600, 0] { add(value, 8) }
        add(0, 8)
        for value: UInt64 in [2, 1 << 20, 2048, 0, 0, 0] { add(value, 8) }
        for value: UInt64 in [0, 0, 0, 0o100_666, 1, 0, 0, 0, 4096, 0] { add(value, 4) }
      case 14:
        // OPEN
        body = Array(repeating: 0, count: 16)
      default: error = -ENOSYS
      }
      let length = UInt64(16 + body.count)
      let answer = little(length, 4) + little(UInt64(UInt32(bitPattern: error)), 4) + little(unique, 8) + body
      _ = try? unsafe answer.withUnsafeBytes { unsafe try device.write($0) }
      if operation == 14 { return }
    }
  }
}
