import SystemPackage
import VDPA
import Virtio

/// A dirty log, and the pages that were noted in it.
struct TestLog {
  private static let size = 1 << 16

  let log: DirtyLog
  private let file: OwnedFD

  init() throws {
    file = try MemoryFile.make("log", size: TestLog.size)
    log = try DirtyLog(file: file.descriptor, offset: 0, size: UInt64(TestLog.size))
  }

  var pages: Set<UInt64> {
    get throws {
      var bytes = [UInt8](repeating: 0, count: TestLog.size)
      _ = try unsafe bytes.withUnsafeMutableBytes { buffer in
        try unsafe file.descriptor.read(fromAbsoluteOffset: 0, into: buffer)
      }
      var pages: Set<UInt64> = []
      for (i, byte) in bytes.enumerated() where byte != 0 {
        for bit in 0..<8 where byte & 1 << bit != 0 { pages.insert(UInt64(8 * i + bit)) }
      }
      return pages
    }
  }

  /// Takes all bits away, like a front-end.
  func clear() throws {
    let zeroes = [UInt8](repeating: 0, count: TestLog.size)
    _ = try unsafe zeroes.withUnsafeBytes { try unsafe file.descriptor.write(toAbsoluteOffset: 0, $0) }
  }
}
