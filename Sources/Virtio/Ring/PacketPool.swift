internal import Glibc
internal import Synchronization
internal import SystemPackage

/// A fixed number of buffers of a fixed size, each for one packet: the storage of any number of bursts.
///
/// A packet stays in its buffer while it is moved from one ``PacketBurst`` on the pool to another, so an application can
/// queue and switch packets without copying, allocating or counting references for them. The buffers are one piece of
/// memory that the system backs as it is used. Each burst keeps up to ``PacketBurst/capacity`` buffers in reserve, so that
/// the pool's lock is taken once for many packets and, where a burst's packets go no further, never.
///
/// A pool may be used by any number of threads at the same time, a burst by one.
@safe public final class PacketPool: Sendable {
  /// How many buffers there are.
  public let count: Int
  /// The longest payload that a buffer holds, in bytes. A longer packet is dropped where it would be taken in, and counted
  /// as oversized.
  public let payloadLength: Int

  // Mapped once and unmapped with this object. A buffer is used by whoever has its number, which the lock below hands to
  // one burst at a time.
  nonisolated(unsafe) let base: UnsafeMutableRawPointer
  let bytes: Int
  /// Where the payloads of the free buffers start, in units of ``line``.
  private let free: Mutex<[UInt32]>

  /// What starts of payloads are counted in.
  static let line = 64

  /// Makes a pool.
  ///
  /// - Parameters:
  ///   - count: How many buffers. Beside the packets that an application holds, each of its bursts can have
  ///     ``PacketBurst/capacity`` in reserve.
  ///   - payloadLength: The longest payload in bytes; as long as one can be unless said otherwise, which costs addresses
  ///     and no memory until such packets come.
  /// - Throws: ``VirtioError`` `badPacketPool` for numbers that make no pool, `mappingFailed` when there is no memory.
  public init(count: Int, payloadLength: Int = PacketBurst.maxPayloadLength) throws(VirtioError) {
    guard (1...PacketPool.maxCount).contains(count), (1...PacketBurst.maxPayloadLength).contains(payloadLength) else {
      throw VirtioError(
        .badPacketPool,
        "a packet pool has 1 to \(PacketPool.maxCount) buffers of 1 to \(PacketBurst.maxPayloadLength) bytes, not \(count) of "
          + "\(payloadLength)")
    }
    let lines = 1 + (payloadLength + PacketPool.line - 1) / PacketPool.line
    // An odd number of cache lines from one packet's first line to the next one's spreads them over a cache's sets.
    let stride = lines | 1
    let bytes = count * stride * PacketPool.line
    let address = unsafe mmap(
      nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw VirtioError(
        .mappingFailed, "a packet pool of \(count) buffers (\(bytes) bytes) cannot be had",
        underlying: Errno(rawValue: errno))
    }
    unsafe base = address
    self.bytes = bytes
    self.count = count
    self.payloadLength = payloadLength
    // The last one is handed out first.
    free = Mutex((0..<count).reversed().map { UInt32($0 * stride + 1) })
  }

  /// So many that every payload's first line has a number of 32 bits.
  private static let maxCount = 1 << 21

  deinit {
    _ = unsafe munmap(base, bytes)
  }

  /// How many buffers are neither in use nor in a burst's reserve.
  public var freeCount: Int { free.withLock { $0.count } }

  /// Takes up to `count` buffers out of the pool.
  ///
  /// - Returns: How many.
  func take(_ count: Int, into lines: UnsafeMutablePointer<UInt32>) -> Int {
    free.withLock { free in
      let taken = min(count, free.count)
      for i in 0..<taken { unsafe lines[i] = free[free.count - taken + i] }
      free.removeLast(taken)
      return taken
    }
  }

  /// Puts buffers back.
  func give(_ count: Int, from lines: UnsafeMutablePointer<UInt32>) {
    free.withLock { free in
      for i in 0..<count { unsafe free.append(lines[i]) }
    }
  }
}
