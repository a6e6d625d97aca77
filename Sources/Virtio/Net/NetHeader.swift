/// The header in front of every packet on a network device's rings (virtio 1.2, §5.1.6).
///
/// A value is what the bytes say and nothing more: what a guest wrote means something only after ``NetOffload`` has
/// checked it against the packet and the negotiated features. All fields are little-endian on the wire, with the legacy
/// interface too, where they are in the guest's byte order: guests that are big-endian there are not served.
public struct NetHeader: Sendable, Hashable {
  /// The bits of ``needsChecksum``, ``dataValid`` and ``coalescingInfo``; others are to be ignored.
  public var flags: UInt8
  /// What is to be segmented or was merged: one of the `gso…` constants, TCP with or without ``gsoECN``.
  public var gsoType: UInt8
  /// A hint at the length of all headers of the packet in bytes, not to be relied on.
  public var headerLength: UInt16
  /// The most payload of each segment, in bytes; valid unless ``gsoType`` is ``gsoNone``.
  public var gsoSize: UInt16
  /// Where in the packet the checksum begins, in bytes; valid with ``needsChecksum``.
  public var checksumStart: UInt16
  /// How far behind ``checksumStart`` the checksum is to be stored, in bytes; valid with ``needsChecksum``.
  public var checksumOffset: UInt16
  /// How many buffers a received packet fills; 0 and unused in a packet that is sent, missing in the shorter header.
  public var bufferCount: UInt16

  /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum has still to be computed.
  public static let needsChecksum: UInt8 = 1
  /// `VIRTIO_NET_HDR_F_DATA_VALID`: the device has validated the checksum. Never set by a driver.
  public static let dataValid: UInt8 = 2
  /// `VIRTIO_NET_HDR_F_RSC_INFO`: the checksum fields have another meaning (`VIRTIO_NET_F_RSC_EXT`).
  public static let coalescingInfo: UInt8 = 4

  /// `VIRTIO_NET_HDR_GSO_NONE`: nothing to be segmented.
  public static let gsoNone: UInt8 = 0
  /// `VIRTIO_NET_HDR_GSO_TCPV4`: TCP over IPv4.
  public static let gsoTCPv4: UInt8 = 1
  /// `VIRTIO_NET_HDR_GSO_UDP`: a UDP datagram to be cut into IP fragments.
  public static let gsoUDP: UInt8 = 3
  /// `VIRTIO_NET_HDR_GSO_TCPV6`: TCP over IPv6.
  public static let gsoTCPv6: UInt8 = 4
  /// `VIRTIO_NET_HDR_GSO_UDP_L4`: UDP payload to be cut into datagrams.
  public static let gsoUDPL4: UInt8 = 5
  /// `VIRTIO_NET_HDR_GSO_ECN`: a bit beside a TCP type; the packet has the congestion window reduced flag set.
  public static let gsoECN: UInt8 = 0x80

  /// The header's length in bytes with `VIRTIO_F_VERSION_1` or `VIRTIO_NET_F_MRG_RXBUF`.
  public static let modernLength = 12
  /// The header's length in bytes without both: there is no `num_buffers`.
  public static let legacyLength = 10
  /// Where `num_buffers`, a little-endian UInt16, stands in the longer header.
  public static let bufferCountOffset = 10

  /// The header's length in bytes that follows from the negotiated features.
  public static func length(for features: Features) -> Int {
    features.isDisjoint(with: [.version1, .netMergeableBuffers]) ? legacyLength : modernLength
  }

  /// A header; all zero, as it is in front of a complete packet, unless said otherwise.
  @inlinable public init(
    flags: UInt8 = 0, gsoType: UInt8 = 0, headerLength: UInt16 = 0, gsoSize: UInt16 = 0, checksumStart: UInt16 = 0,
    checksumOffset: UInt16 = 0, bufferCount: UInt16 = 0
  ) {
    self.flags = flags
    self.gsoType = gsoType
    self.headerLength = headerLength
    self.gsoSize = gsoSize
    self.checksumStart = checksumStart
    self.checksumOffset = checksumOffset
    self.bufferCount = bufferCount
  }

  // MARK: Bytes

  /// Whether a header asks for nothing, which by far most do: one load and one comparison.
  ///
  /// The load ends in front of `csum_offset`, which means nothing while the flags are 0 (virtio 1.2, §5.1.6.2).
  ///
  /// - Parameter bytes: At least the header: 10 bytes.
  @inlinable @inline(__always) package static func isPlain(_ bytes: Span<UInt8>) -> Bool {
    // Any bytes make an integer, and the span checks its bounds; so below.
    unsafe bytes.bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt64.self) == 0
  }

  /// Reads a header from the start of a packet.
  ///
  /// - Parameters:
  ///   - bytes: At least `length` bytes.
  ///   - length: ``modernLength`` or ``legacyLength``; nothing behind it is read.
  @inlinable package init(decoding bytes: Span<UInt8>, length: Int) {
    precondition(length == NetHeader.modernLength || length == NetHeader.legacyLength)
    let raw = unsafe bytes.bytes
    let first = UInt64(littleEndian: unsafe raw.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt64.self))
    let offset = UInt16(littleEndian: unsafe raw.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt16.self))
    var count: UInt16 = 0
    if length == NetHeader.modernLength {
      count = UInt16(
        littleEndian: unsafe raw.unsafeLoadUnaligned(fromByteOffset: NetHeader.bufferCountOffset, as: UInt16.self))
    }
    self.init(
      flags: UInt8(truncatingIfNeeded: first), gsoType: UInt8(truncatingIfNeeded: first >> 8),
      headerLength: UInt16(truncatingIfNeeded: first >> 16), gsoSize: UInt16(truncatingIfNeeded: first >> 32),
      checksumStart: UInt16(truncatingIfNeeded: first >> 48), checksumOffset: offset, bufferCount: count)
  }

  /// Writes the header to the start of a packet.
  ///
  /// - Parameters:
  ///   - bytes: At least `length` bytes.
  ///   - length: ``modernLength`` or ``legacyLength``; nothing behind it is written.
  @inlinable package func encode(into bytes: inout MutableSpan<UInt8>, length: Int) {
    precondition(length == NetHeader.modernLength || length == NetHeader.legacyLength)
    let first =
      UInt64(flags) | UInt64(gsoType) << 8 | UInt64(headerLength) << 16 | UInt64(gsoSize) << 32
      | UInt64(checksumStart) << 48
    var raw = unsafe bytes.mutableBytes
    raw.storeBytes(of: first.littleEndian, toByteOffset: 0, as: UInt64.self)
    raw.storeBytes(of: checksumOffset.littleEndian, toByteOffset: 8, as: UInt16.self)
    if length == NetHeader.modernLength {
      raw.storeBytes(of: bufferCount.littleEndian, toByteOffset: NetHeader.bufferCountOffset, as: UInt16.self)
    }
  }
}
