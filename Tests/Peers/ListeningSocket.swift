import Foundation
import SystemPackage

/// Whether a Unix socket is listened on, without connecting to it: a vhost-user server takes one connection only.
package enum ListeningSocket {
  /// Reads /proc/net/unix, where a listening socket has the flag __SO_ACCEPTCON.
  package static func exists(at path: String) -> Bool {
    guard let table = try? wholeTable() else { return false }
    // Names in the abstract namespace are any bytes, also of sockets that are no business of ours.
    return table.split(separator: UInt8(ascii: "\n")).dropFirst().contains { line in
      // Num RefCount Protocol Flags Type St Inode Path
      let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 7, omittingEmptySubsequences: true)
      guard fields.count == 8, fields[7].elementsEqual(path.utf8),
        let flags = UInt32(String(decoding: fields[3], as: UTF8.self), radix: 16)
      else { return false }
      return flags & 0x10000 != 0
    }
  }

  /// The kernel makes the table anew for each read(2), from where the last one came to; sockets that come and go
  /// meanwhile move the others, so one large read sees more than many small ones.
  private static func wholeTable() throws -> [UInt8] {
    let file = try FileDescriptor.open(FilePath("/proc/net/unix"), .readOnly)
    defer { try? file.close() }
    var table: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 20)
    while true {
      let count = unsafe try chunk.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
      if count == 0 { return table }
      table += chunk[..<count]
    }
  }

  /// Waits until `process` listens on `path`.
  package static func wait(at path: String, by process: PeerProcess, timeout: Duration = .seconds(10)) throws(PeerError)
  {
    let deadline = ContinuousClock.now + timeout
    while !exists(at: path) {
      if let status = process.exitStatus {
        throw PeerError(.exited, "\(process.name) \(status)", outputTail: process.outputTail())
      }
      guard ContinuousClock.now < deadline else {
        throw PeerError(
          .timeout, "\(process.name) does not listen on \(path) after \(timeout)", outputTail: process.outputTail())
      }
      Thread.sleep(forTimeInterval: 0.02)
    }
  }
}
