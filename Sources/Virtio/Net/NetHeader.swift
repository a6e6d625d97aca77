/// The header in front of every packet on a network device's rings (virtio 1.2, §5.1.6).
public enum NetHeader {
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
}
