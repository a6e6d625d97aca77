import CLinux
import Glibc
import SystemPackage
import Testing
import VDPA

@testable import Datapath

/// Memory for requests: a memory file, so that it can be truncated under whoever uses it.
@safe final class TestArena {
  let count: Int
  private let file: FileDescriptor
  private let base: UnsafeMutableRawPointer
  private var used = 0
  /// Which bytes of the arena have been copied out of it by a request, and how often.
  private(set) var copies: [Int: Int] = [:]

  init(_ count: Int = 1 << 20) throws {
    self.count = count
    let descriptor = unsafe clinux_memfd("arena")
    guard descriptor >= 0, ftruncate(descriptor, off_t(count)) == 0 else { throw Errno(rawValue: errno) }
    file = FileDescriptor(rawValue: descriptor)
    let address = unsafe mmap(nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    unsafe base = try #require(unsafe address)
  }

  deinit {
    unsafe munmap(base, count)
    try? file.close()
  }

  /// A piece that nobody has had before.
  func take(_ count: Int) -> Int {
    precondition(used + count <= self.count)
    defer { used += count }
    return used
  }

  /// Makes all pieces free again.
  func reset() {
    used = 0
    copies = [:]
  }

  /// What a request copies.
  func copy(_ offset: Int, _ count: Int) -> [UInt8] {
    for i in offset..<offset + count { copies[i, default: 0] += 1 }
    return read(offset, count)
  }

  /// Ends the memory after so many bytes: what is behind it is still mapped.
  func truncate(_ count: Int) { ftruncate(file.rawValue, off_t(count)) }

  func write(_ bytes: [UInt8], at offset: Int) {
    precondition(offset + bytes.count <= count)
    // The array's own buffer, and a piece of the mapping.
    unsafe bytes.withUnsafeBytes { source in
      if let start = source.baseAddress { unsafe (base + offset).copyMemory(from: start, byteCount: source.count) }
    }
  }

  func read(_ offset: Int, _ count: Int) -> [UInt8] {
    precondition(offset + count <= self.count)
    return unsafe Array(UnsafeRawBufferPointer(start: base + offset, count: count))
  }

  func pointer(_ offset: Int) -> UnsafeMutableRawPointer { unsafe base + offset }
}

/// A request's memory, made of pieces of an arena in any layout.
struct TestBuffers: ~Copyable, BlockBuffers {
  /// A descriptor.
  struct Piece {
    var offset: Int
    var count: Int
  }

  let arena: TestArena
  let readable: [Piece]
  let writable: [Piece]
  var writtenBytes = 0
  /// Called when the request is given back, with what has been written.
  let given: (Int) -> Void

  init(arena: TestArena, readable: [Piece], writable: [Piece], given: @escaping (Int) -> Void) {
    self.arena = arena
    self.readable = readable
    self.writable = writable
    self.given = given
  }

  deinit { given(writtenBytes) }

  var readableBytes: Int { readable.reduce(0) { $0 + $1.count } }
  var writableBytes: Int { writable.reduce(0) { $0 + $1.count } }

  /// The parts of pieces that make up a range of bytes; nil when there are fewer.
  static func parts(of pieces: [Piece], from offset: Int, count: Int) -> [Piece]? {
    var found: [Piece] = []
    var (skip, rest) = (offset, count)
    for piece in pieces {
      let skipped = min(skip, piece.count)
      skip -= skipped
      let taken = min(piece.count - skipped, rest)
      rest -= taken
      if taken > 0 || piece.count == 0 { found.append(Piece(offset: piece.offset + skipped, count: taken)) }
    }
    return skip == 0 && rest == 0 ? found : nil
  }

  func read(at offset: Int, count: Int) -> [UInt8]? {
    TestBuffers.parts(of: readable, from: offset, count: count)?.flatMap { arena.copy($0.offset, $0.count) }
  }

  mutating func write(_ bytes: [UInt8], at offset: Int) -> Bool {
    guard let parts = TestBuffers.parts(of: writable, from: offset, count: bytes.count) else { return false }
    var rest = bytes[...]
    for part in parts {
      arena.write(Array(rest.prefix(part.count)), at: part.offset)
      rest = rest.dropFirst(part.count)
    }
    writtenBytes = max(writtenBytes, offset + bytes.count)
    return true
  }

  func addReadable(at offset: Int, count: Int, to vectors: BlockVectors) -> Bool {
    TestBuffers.add(readable, offset, count, arena, vectors)
  }

  func addWritable(at offset: Int, count: Int, to vectors: BlockVectors) -> Bool {
    TestBuffers.add(writable, offset, count, arena, vectors)
  }

  private static func add(
    _ all: [Piece], _ offset: Int, _ count: Int, _ arena: TestArena, _ vectors: BlockVectors
  ) -> Bool {
    guard let parts = parts(of: all, from: offset, count: count) else { return false }
    for part in parts { unsafe vectors.append(arena.pointer(part.offset), length: part.count) }
    return true
  }
}

extension BlockVectors {
  /// Takes over pieces of memory in place of those that it has.
  func set(_ pieces: [iovec]) {
    begin()
    for i in unsafe pieces.indices {
      if let start = unsafe pieces[i].iov_base { unsafe append(start, length: pieces[i].iov_len) }
    }
  }
}
