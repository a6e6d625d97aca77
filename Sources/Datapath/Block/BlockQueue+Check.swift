internal import Virtio

/// Why a request is not served, and what its guest is told.
struct BlockRefusal: Error {
  let status: BlockStatus
  let reason: String

  static func ioError(_ reason: String) -> BlockRefusal { BlockRefusal(status: .ioError, reason: reason) }
  static func unsupported(_ reason: String) -> BlockRefusal { BlockRefusal(status: .unsupported, reason: reason) }
}

extension BlockQueue where Buffers: ~Copyable {
  /// Looks at a request, of which everything is fetched once and checked before anything is done.
  ///
  /// What surplus there is behind a header or in front of a status that need none means nothing.
  ///
  /// - Returns: Whether it is done already.
  /// - Throws: When it cannot be served.
  func check(_ task: Task) throws(BlockRefusal) -> Bool {
    guard let request = task.buffers?.readHeader() else {
      task.request = BlockRequest(BlockRequest.Kind(rawValue: .max))
      throw .ioError("\(task.buffers?.readableBytes ?? 0) bytes for a header, which has \(BlockRequest.headerLength)")
    }
    task.request = request
    let readable = (task.buffers?.readableBytes ?? 0) - BlockRequest.headerLength
    let writable = (task.buffers?.writableBytes ?? 0) - 1
    switch task.request.kind {
    case .read:
      try checkTransfer(task, length: writable)
      return writable == 0
    case .write:
      try checkTransfer(task, length: readable)
      try checkWritable()
      return readable == 0
    case .flush:
      task.step = .sync
      // Nothing is written that would have to be flushed.
      return medium.file.isReadOnly
    case .getID:
      let id = Array(medium.id.prefix(writable))
      guard task.buffers?.write(id, at: 0) == true else { throw .ioError("its memory is gone") }
      task.done = id.count
      return true
    case .discard, .writeZeroes:
      let isDiscard = task.request.kind == .discard
      try checkWritable()
      guard offers(isDiscard ? .blockDiscard : .blockWriteZeroes) else { throw .unsupported("was not negotiated") }
      try fetchSegments(task, length: readable)
      try checkSegments(task, isDiscard: isDiscard)
      choose(task)
      return task.segments.isEmpty
    default:
      throw .unsupported("this device does not do that")
    }
  }

  /// What a read or a write has to be.
  private func checkTransfer(_ task: Task, length: Int) throws(BlockRefusal) {
    let sectorSize = Int(BlockConfiguration.sectorSize)
    task.step = .transfer
    task.length = length
    guard length % sectorSize == 0 else { throw .ioError("not a multiple of \(sectorSize) bytes") }
    try checkRange(sector: task.request.sector, count: UInt64(length / sectorSize))
  }

  private func checkRange(sector: UInt64, count: UInt64) throws(BlockRefusal) {
    let capacity = medium.file.sectors
    guard sector <= capacity, count <= capacity - sector else {
      throw .ioError("beyond the end of the device, which has \(capacity) sectors")
    }
  }

  private func checkWritable() throws(BlockRefusal) {
    if medium.file.isReadOnly { throw .ioError("the device is read-only") }
  }

  /// Fetches the segments of a discard or write zeroes request, the first one to the end.
  private func fetchSegments(_ task: Task, length: Int) throws(BlockRefusal) {
    let (count, rest) = length.quotientAndRemainder(dividingBy: BlockSegment.byteCount)
    guard rest == 0, count > 0 else { throw .ioError("\(length) bytes are not a number of segments") }
    guard count <= BlockMedium.maxSegments else {
      throw .ioError("\(count) segments, of which there may be \(BlockMedium.maxSegments)")
    }
    guard let bytes = task.buffers?.read(at: BlockRequest.headerLength, count: length) else {
      throw .ioError("its memory is gone")
    }
    task.segments = (0..<count).reversed().compactMap {
      BlockSegment(decoding: bytes, at: $0 * BlockSegment.byteCount)
    }
  }

  private func checkSegments(_ task: Task, isDiscard: Bool) throws(BlockRefusal) {
    for segment in task.segments {
      // A discard has no flags at all.
      let unknown = segment.flags.subtracting(isDiscard ? [] : .unmap)
      guard unknown.isEmpty else { throw .unsupported("flags 0x\(String(unknown.rawValue, radix: 16))") }
    }
    let most = isDiscard ? BlockMedium.maxDiscardSectors : BlockMedium.maxWriteZeroesSectors
    for segment in task.segments {
      guard segment.count <= most else {
        throw .ioError("a segment of \(segment.count) sectors, of which there may be \(most)")
      }
      try checkRange(sector: segment.sector, count: UInt64(segment.count))
    }
  }
}
