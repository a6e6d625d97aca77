import CLinux
import Glibc
import SystemPackage

@testable import Datapath

/// A file that goes with the last who holds it, and a second way into it that the code under test does not know.
final class TestFile {
  enum Place: CaseIterable {
    /// The file system of temporary files.
    case disk
    /// Memory, which cannot make ranges zero (`FALLOC_FL_ZERO_RANGE`).
    case memory
  }

  let path: String
  private let file: FileDescriptor
  private let isMade: Bool

  convenience init(sectors: Int = 64, in place: Place = .memory) throws {
    try self.init(bytes: sectors * 512, in: place)
  }

  convenience init(bytes: Int, in place: Place = .memory) throws {
    switch place {
    case .disk:
      try self.init(file: "/tmp/vdpa-\(getpid())-\(UInt64.random(in: 0...UInt64.max)).img", bytes: bytes)
    case .memory:
      let descriptor = unsafe clinux_memfd("medium")
      guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
      self.init("/proc/self/fd/\(descriptor)", FileDescriptor(rawValue: descriptor), isMade: false)
      try resize(bytes)
    }
  }

  /// A file of that path, which is made.
  convenience init(file path: String, bytes: Int) throws {
    let file = try FileDescriptor.open(
      FilePath(path), .readWrite, options: [.create, .exclusiveCreate, .closeOnExec], permissions: .ownerReadWrite)
    self.init(path, file, isMade: true)
    try resize(bytes)
  }

  /// A block device.
  convenience init(device path: String) throws {
    self.init(path, try .open(FilePath(path), .readOnly, options: .closeOnExec), isMade: false)
  }

  private init(_ path: String, _ file: FileDescriptor, isMade: Bool) {
    self.path = path
    self.file = file
    self.isMade = isMade
  }

  deinit {
    if isMade { unsafe unlink(path) }
    try? file.close()
  }

  func open(isReadOnly: Bool = false) throws(DatapathError) -> BlockFile {
    try BlockFile(path: path, isReadOnly: isReadOnly)
  }

  func resize(_ bytes: Int) throws {
    guard ftruncate(file.rawValue, off_t(bytes)) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Forbids what is sealed from now on; memory only.
  func seal(_ seals: CInt) throws {
    // F_ADD_SEALS, which is not in the headers that Swift reads.
    guard fcntl(file.rawValue, 1033, seals) == 0 else { throw Errno(rawValue: errno) }
  }

  static let sealWrite: CInt = 8

  func write(_ bytes: [UInt8], at offset: Int = 0) throws {
    _ = try file.writeAll(toAbsoluteOffset: Int64(offset), bytes)
  }

  func read(at offset: Int = 0, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    // The buffer is the array's own.
    let got = try unsafe bytes.withUnsafeMutableBytes {
      try unsafe file.read(fromAbsoluteOffset: Int64(offset), into: $0)
    }
    return Array(bytes.prefix(got))
  }

  /// How many bytes of the disk it takes.
  var allocated: Int {
    var status = stat()
    guard unsafe fstat(file.rawValue, &status) == 0 else { return -1 }
    return Int(status.st_blocks) * 512
  }
}
