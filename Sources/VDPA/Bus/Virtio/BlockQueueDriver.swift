internal import Virtio

/// Reads and writes sectors over one vring of a guest, a request at a time (virtio 1.2, §5.2.6). For one thread.
public final class BlockQueueDriver {
  /// The longest request, in bytes.
  public static let longest = 65536
  /// How much memory it takes, in bytes.
  public static let bufferBytes = longest + 8192

  private let guest: DriverGuest
  private let vring: DriverVring
  private let header: UInt64
  private let status: UInt64
  package let data: UInt64
  /// The longest that a request may take.
  public var patience = Duration.seconds(30)

  /// A driver of one vring.
  ///
  /// - Throws: ``VDPAError`` `noResources`, when the guest has less than ``bufferBytes`` left.
  public init(_ guest: DriverGuest, vring index: Int = 0) throws(VDPAError) {
    self.guest = guest
    vring = guest.vrings[index]
    header = try guest.memory.allocate(BlockRequest.headerLength, alignment: 16)
    status = try guest.memory.allocate(1, alignment: 1)
    data = try guest.memory.allocate(BlockQueueDriver.longest)
  }

  /// Reads sectors.
  ///
  /// - Parameters:
  ///   - sector: The first one, of 512 bytes.
  ///   - count: How many bytes, ``longest`` at most; a multiple of 512.
  /// - Throws: ``VDPAError`` `operationFailed`, when the device does not; `deviceFault`.
  public func read(sector: UInt64, count: Int) throws(VDPAError) -> [UInt8] {
    try perform(BlockRequest(.read, sector: sector), writable: count)
    return guest.memory.read(data, count: count)
  }

  /// Writes sectors.
  ///
  /// - Parameters:
  ///   - bytes: ``longest`` at most; a multiple of 512.
  ///   - sector: The first sector.
  /// - Throws: ``VDPAError`` `operationFailed`, when the device does not; `deviceFault`.
  public func write(_ bytes: [UInt8], sector: UInt64) throws(VDPAError) {
    precondition(bytes.count <= BlockQueueDriver.longest)
    guest.memory.write(bytes, at: data)
    try perform(BlockRequest(.write, sector: sector), readable: bytes.count)
  }

  /// Has the device commit what was written to stable storage (`VIRTIO_BLK_F_FLUSH`).
  ///
  /// - Throws: ``VDPAError`` `operationFailed`, when the device does not; `deviceFault`.
  public func flush() throws(VDPAError) { try perform(BlockRequest(.flush)) }

  private func perform(_ request: BlockRequest, readable: Int = 0, writable: Int = 0) throws(VDPAError) {
    precondition(writable <= BlockQueueDriver.longest)
    guest.memory.write(request.encoded, at: header)
    guest.memory.write([0xff], at: status)
    let chain: [DriverVring.Piece] = [(header, BlockRequest.headerLength)]
    guard
      let id = vring.add(
        readable: chain + (readable > 0 ? [(data, readable)] : []),
        writable: (writable > 0 ? [(data, writable)] : []) + [(status, 1)])
    else { throw VDPAError(.operationFailed, "\(request): vring \(vring.index) has no room") }
    vring.publish()
    do throws(VringFault) {
      guard let returned = try vring.wait(for: patience) else {
        throw VringFault(index: vring.index, reason: "no answer came within \(patience)")
      }
      guard returned.id == id else {
        throw VringFault(index: vring.index, reason: "buffer \(returned.id) came back, not \(id)")
      }
    } catch {
      throw VDPAError(.deviceFault, "\(request): \(error)")
    }
    let result = BlockStatus(rawValue: guest.memory.read(status, count: 1)[0])
    guard result == .ok else { throw VDPAError(.operationFailed, "\(request): the device answers \(result)") }
  }
}
