public import Glibc
internal import Virtio

/// A descriptor chain that the guest has given to a device: some bytes to read, followed by room for some to write.
///
/// How the guest has cut them into descriptors is of no importance and cannot be seen (virtio 1.2, §2.7.4). The
/// descriptors were copied and checked before; the bytes are in guest memory, where they can change at any time, so what
/// decides something is to be read once. Destroying the value returns the chain to the guest.
public struct Chain: ~Copyable, Sendable {
  private let request: ChainRequest
  /// How many bytes there are to read.
  public let readableBytes: Int
  /// How many bytes there is room for.
  public let writableBytes: Int
  /// How many bytes the guest is told were written, counted from the first: as far as ``write(_:at:)`` has come, or what
  /// is set here by a device that had them written by other means. Never more than ``writableBytes``.
  public var writtenBytes = 0
  private var writes: ChainWrites

  init(_ request: ChainRequest) {
    self.request = request
    readableBytes = request.readableBytes
    writableBytes = request.writableBytes
    writes = ChainWrites(room: request.writableBytes)
  }

  deinit {
    request.finish(written: writtenBytes, writes: writes)
  }

  /// Copies bytes that the guest wants the device to read.
  ///
  /// - Parameters:
  ///   - offset: The first one, counted over all descriptors.
  ///   - count: How many.
  /// - Returns: nil when there are not that many.
  public func read(at offset: Int, count: Int) -> [UInt8]? {
    guard offset >= 0, count >= 0, count <= readableBytes, offset <= readableBytes - count else { return nil }
    return unsafe [UInt8](unsafeUninitializedCapacity: count) { bytes, filled in
      if let to = bytes.baseAddress { unsafe request.copy(from: offset, count: count, to: to) }
      filled = count
    }
  }

  /// Writes bytes into the room that the guest has given.
  ///
  /// - Parameters:
  ///   - bytes: What to write.
  ///   - offset: Where, counted over all descriptors.
  /// - Returns: Whether there was room for all; if not, nothing was written.
  @discardableResult
  public mutating func write(_ bytes: [UInt8], at offset: Int) -> Bool {
    let count = bytes.count
    guard offset >= 0, count <= writableBytes, offset <= writableBytes - count else { return false }
    unsafe bytes.withUnsafeBytes { from in
      if let start = from.baseAddress { unsafe request.copy(from: start, count: count, to: offset) }
    }
    writes.add(offset..<offset + count)
    writtenBytes = max(writtenBytes, offset + count)
    return true
  }

  /// Copies the first 16 bytes to be read, as two numbers; nil when there are fewer.
  func readPair() -> (UInt64, UInt64)? {
    guard readableBytes >= 16 else { return nil }
    var pair: (UInt64, UInt64) = (0, 0)
    // The pair has the 16 bytes that are copied into it.
    unsafe withUnsafeMutableBytes(of: &pair) { bytes in
      if let to = bytes.baseAddress { unsafe request.copy(from: 0, count: 16, to: to) }
    }
    return pair
  }

  /// Writes one byte; whether there was room for it.
  mutating func write(byte: UInt8, at offset: Int) -> Bool {
    guard offset >= 0, offset < writableBytes else { return false }
    var byte = byte
    unsafe request.copy(from: &byte, count: 1, to: offset)
    writes.add(offset..<offset + 1)
    writtenBytes = max(writtenBytes, offset + 1)
    return true
  }

  /// The pieces of memory that bytes to be read are in, for a system call that reads them there.
  ///
  /// - Parameters:
  ///   - offset: The first byte.
  ///   - count: How many.
  ///   - pieces: They are added here; valid for as long as the chain is.
  /// - Returns: Whether there are that many; if not, nothing is added.
  @unsafe public func readablePieces(at offset: Int, count: Int, into pieces: inout [iovec]) -> Bool {
    unsafe visitReadable(at: offset, count: count) { unsafe pieces.append(iovec(iov_base: $0, iov_len: $1)) }
  }

  /// The pieces of memory that there is room in, for a system call that writes there. ``writtenBytes`` is to be set
  /// afterwards; for the migration of a guest all of them count as written.
  ///
  /// - Parameters:
  ///   - offset: The first byte.
  ///   - count: How many.
  ///   - pieces: They are added here; valid for as long as the chain is.
  /// - Returns: Whether there is room for that many; if not, nothing is added.
  @unsafe public mutating func writablePieces(at offset: Int, count: Int, into pieces: inout [iovec]) -> Bool {
    unsafe visitWritable(at: offset, count: count) { unsafe pieces.append(iovec(iov_base: $0, iov_len: $1)) }
  }

  /// Visits the pieces of memory that bytes to be read are in; false when there are not that many.
  @unsafe func visitReadable(at offset: Int, count: Int, _ body: (UnsafeMutableRawPointer, Int) -> Void) -> Bool {
    guard offset >= 0, count >= 0, count <= readableBytes, offset <= readableBytes - count else { return false }
    unsafe request.visit(at: offset, count: count, isWritable: false, body)
    return true
  }

  /// Visits the pieces of memory that there is room in, which count as written; false when there is not that much.
  @unsafe mutating func visitWritable(
    at offset: Int, count: Int, _ body: (UnsafeMutableRawPointer, Int) -> Void
  ) -> Bool {
    guard offset >= 0, count >= 0, count <= writableBytes, offset <= writableBytes - count else { return false }
    writes.add(offset..<offset + count)
    unsafe request.visit(at: offset, count: count, isWritable: true, body)
    return true
  }
}
