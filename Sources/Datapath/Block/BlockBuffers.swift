internal import Virtio

/// The memory of one block request: bytes that the device reads, then room for those that it writes, cut up in any way.
/// The request is given back to the guest when it is let go of. A ``Chain``, but for tests without a ring.
protocol BlockBuffers: ~Copyable {
  /// How many bytes the device may read.
  var readableBytes: Int { get }
  /// How many bytes the device may write.
  var writableBytes: Int { get }
  /// How many bytes it has written, from the first on: what the guest is told.
  var writtenBytes: Int { get set }

  /// Copies bytes that the device may read; nil when there are not that many.
  func read(at offset: Int, count: Int) -> [UInt8]?

  /// The header, fetched once; nil when there are fewer bytes.
  func readHeader() -> BlockRequest?

  /// Writes bytes; false when there is no room for all.
  @discardableResult
  mutating func write(_ bytes: [UInt8], at offset: Int) -> Bool

  /// Writes one byte; false when there is no room for it.
  mutating func write(byte: UInt8, at offset: Int) -> Bool

  /// Adds where bytes to be read are in this process; false when there are not that many. Valid for as long as this is.
  func addReadable(at offset: Int, count: Int, to vectors: BlockVectors) -> Bool

  /// Adds where there is room for bytes in this process; false when there is not that much. Valid for as long as this is.
  mutating func addWritable(at offset: Int, count: Int, to vectors: BlockVectors) -> Bool
}

extension BlockBuffers where Self: ~Copyable {
  func readHeader() -> BlockRequest? {
    read(at: 0, count: BlockRequest.headerLength).flatMap { BlockRequest(decoding: $0) }
  }

  mutating func write(byte: UInt8, at offset: Int) -> Bool { write([byte], at: offset) }
}

extension Chain: BlockBuffers {
  // Without an array in between: every request has a header and a status.
  func readHeader() -> BlockRequest? {
    readPair().map { BlockRequest(first: UInt64(littleEndian: $0.0), second: UInt64(littleEndian: $0.1)) }
  }

  func addReadable(at offset: Int, count: Int, to vectors: BlockVectors) -> Bool {
    // The vectors are let go of before the chain is.
    unsafe visitReadable(at: offset, count: count) { unsafe vectors.append($0, length: $1) }
  }

  mutating func addWritable(at offset: Int, count: Int, to vectors: BlockVectors) -> Bool {
    // The same.
    unsafe visitWritable(at: offset, count: count) { unsafe vectors.append($0, length: $1) }
  }
}
