internal import VDPA
internal import Virtio

/// A request queue of a block device (virtio 1.2, §5.2.6). A request is done when it is due, so that whatever was completed
/// before a flush is part of it.
final class BlockQueue: ServedQueue {
  /// The most requests that are fetched in one turn.
  private static let burst = 64
  /// The most requests that are in flight.
  static let window = 1024

  private let vring: ServedVring
  let vrings: [ServedVring]
  private let disk: SimulatedDisk
  private unowned let server: RingServer
  private var requests = InFlight<HeldChain>()
  private var isResumptionReported = false

  init(_ vring: ServedVring, disk: SimulatedDisk, server: RingServer) {
    self.vring = vring
    vrings = [vring]
    self.disk = disk
    self.server = server
  }

  var inFlight: Int { requests.count }

  var nextDue: UInt64? { requests.nextDue(isOrdered: server.isInOrder) }

  func serve(at now: UInt64) -> Bool {
    reportResumption()
    var fetched = 0
    while fetched < BlockQueue.burst, requests.count < BlockQueue.window,
      let chain = vring.fetch(server.view, server.segments)
    {
      requests.add(chain, due: server.due(from: now))
      fetched += 1
    }
    return complete(by: now) || fetched > 0
  }

  func finish() { _ = complete(by: .max) }

  func drop() { requests.removeAll() }

  private func reportResumption() {
    guard !isResumptionReported else { return }
    isResumptionReported = true
    let count = vring.ring.resubmissions
    if count > 0 { server.observer?.deviceReports(.requestsResubmitted(index: vring.index, count: count)) }
  }

  private func complete(by now: UInt64) -> Bool {
    let due = server.isInOrder ? requests.take(dueBy: now) : requests.take(dueBy: now, shuffledBy: &server.random)
    for chain in due {
      vring.give(chain, written: perform(chain), corruption: server.corruption(on: vring))
      guard server.countPacket() else { return true }
    }
    if !due.isEmpty { vring.announce() }
    return !due.isEmpty
  }

  // MARK: Requests

  /// Does a request.
  ///
  /// - Returns: How many bytes it has written, from the first one on.
  private func perform(_ chain: HeldChain) -> Int {
    // Where there is no room for a status, there is nobody to tell of anything.
    guard chain.writable > 0 else {
      vring.statistics.dropped &+= 1
      return 0
    }
    var data = 0
    let status = perform(chain, data: &data)
    vring.statistics.packets &+= 1
    vring.statistics.chainLengths[PacketTally.linkClass(of: chain.chain.length)] &+= 1
    let place = chain.writable - 1
    let byte = [status.rawValue]
    let isWritten = chain.write(byte.span, at: place, log: vring.ring.log)
    return isWritten && data == place ? place + 1 : data
  }

  /// - Parameter data: How many bytes were written in front of the status.
  private func perform(_ chain: HeldChain, data: inout Int) -> BlockStatus {
    let (readable, writable) = (chain.readable - BlockRequest.headerLength, chain.writable - 1)
    guard readable >= 0, let header = chain.read(0..<BlockRequest.headerLength),
      let request = BlockRequest(decoding: header)
    else { return .ioError }
    switch request.kind {
    case .read:
      guard transfer(chain, request, from: 0, length: writable) else { return .ioError }
      data = writable
    case .write:
      guard !disk.isReadOnly, transfer(chain, request, from: BlockRequest.headerLength, length: readable) else {
        return .ioError
      }
      // A driver that cannot flush cannot ask for it later (virtio 1.2, §5.2.6.2).
      if !server.features.contains(.blockFlush) && !disk.flush() { return .ioError }
    case .flush: return disk.isReadOnly || disk.flush() ? .ok : .ioError
    case .getID:
      let id = disk.id
      data = min(writable, id.count)
      chain.write(id.span.extracting(first: data), at: 0, log: vring.ring.log)
    case .discard, .writeZeroes: return zero(chain, request.kind, length: readable)
    default: return .unsupported
    }
    return .ok
  }

  /// Reads or writes the data of a request, which starts at an offset of the bytes that the device writes or reads.
  private func transfer(_ chain: HeldChain, _ request: BlockRequest, from start: Int, length: Int) -> Bool {
    let sectorSize = Int(BlockConfiguration.sectorSize)
    guard length % sectorSize == 0, isInside(request.sector, count: UInt64(length / sectorSize)) else { return false }
    let (disk, log, isRead) = (disk, vring.ring.log, request.kind == .read)
    var offset = request.sector * UInt64(sectorSize)
    let isDone = unsafe chain.visit(start..<start + length, isWritable: isRead) { piece, count in
      guard unsafe disk.transfer(piece, length: count, at: offset, isRead: isRead) else { return false }
      if isRead { unsafe log?.note(piece, length: count) }
      offset += UInt64(count)
      return true
    }
    if isDone { vring.statistics.bytes &+= UInt64(length) }
    return isDone
  }

  private func isInside(_ sector: UInt64, count: UInt64) -> Bool {
    sector <= disk.sectors && count <= disk.sectors - sector
  }

  /// Discards segments, or makes them zero; all of them are checked before anything is done.
  private func zero(_ chain: HeldChain, _ kind: BlockRequest.Kind, length: Int) -> BlockStatus {
    let isDiscard = kind == .discard
    guard !disk.isReadOnly else { return .ioError }
    guard server.features.contains(isDiscard ? .blockDiscard : .blockWriteZeroes) else { return .unsupported }
    let (count, rest) = length.quotientAndRemainder(dividingBy: BlockSegment.byteCount)
    guard rest == 0, (1...SimulatedDisk.maxSegments).contains(count),
      let bytes = chain.read(BlockRequest.headerLength..<BlockRequest.headerLength + length)
    else { return .ioError }
    let segments = (0..<count).compactMap { BlockSegment(decoding: bytes, at: $0 * BlockSegment.byteCount) }
    let most = isDiscard ? SimulatedDisk.maxDiscardSectors : SimulatedDisk.maxWriteZeroesSectors
    for segment in segments {
      // A discard has no flags at all.
      guard segment.flags.subtracting(isDiscard ? [] : .unmap).isEmpty else { return .unsupported }
      guard segment.count <= most, isInside(segment.sector, count: UInt64(segment.count)) else { return .ioError }
    }
    for segment in segments {
      let offset = segment.sector * UInt64(BlockConfiguration.sectorSize)
      let length = UInt64(segment.count) * UInt64(BlockConfiguration.sectorSize)
      if isDiscard {
        disk.discard(at: offset, length: length)
        continue
      }
      let isFreed = segment.flags.contains(.unmap) && disk.punchHole(at: offset, length: length)
      guard isFreed || disk.writeZeroes(at: offset, length: length) else { return .ioError }
    }
    return .ok
  }
}
