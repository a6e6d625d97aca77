import Foundation

/// Whether a Unix socket is listened on, without connecting to it: a vhost-user server takes one connection only.
package enum ListeningSocket {
  /// Reads /proc/net/unix, where a listening socket has the flag __SO_ACCEPTCON.
  package static func exists(at path: String) -> Bool {
    guard let table = SystemTable.text(at: "/proc/net/unix") else { return false }
    return table.split(separator: "\n").dropFirst().contains { line in
      // Num RefCount Protocol Flags Type St Inode Path
      let fields = line.split(separator: " ", maxSplits: 7, omittingEmptySubsequences: true)
      guard fields.count == 8, fields[7] == path, let flags = UInt32(fields[3], radix: 16) else { return false }
      return flags & 0x10000 != 0
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
