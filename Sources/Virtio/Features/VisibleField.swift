/// A field of a configuration space that a driver may read once it has accepted some features.
///
/// Two devices are the same to a driver if what it can see of their configuration spaces is the same. What a device may
/// change at any time, saying so, is not among the fields: the link's status (virtio 1.2, §5.1.4) and the write-back cache,
/// which the driver itself sets (§5.2.5.2). Neither is the number of queue pairs, of which whoever offers the device may
/// offer fewer.
public struct VisibleField: Sendable, Hashable {
  /// The field's name in the standard.
  public let name: String
  /// Where it is, in bytes from the start of the configuration space.
  public let range: Range<Int>

  /// The fields of a device type that a driver with those features may read; nil for a type whose fields are not known
  /// here, of which all bytes count.
  public static func fields(of type: DeviceType, features: Features) -> [VisibleField]? {
    let table: [(name: String, range: Range<Int>, bits: [Int])]
    switch type {
    case .net: table = net
    case .block: table = block
    default: return nil
    }
    return table.filter { entry in
      entry.bits.isEmpty || entry.bits.contains { features.contains(Features(bit: $0)) }
    }.map { VisibleField(name: $0.name, range: $0.range) }
  }

  /// What differs, in the view of a driver with those features, between the configuration spaces of two devices.
  ///
  /// - Returns: The fields' names with both values, numbers in hexadecimal; empty for the same device. Bytes
  ///   that a space does not have are zero.
  public static func differences(
    _ one: [UInt8], _ other: [UInt8], of type: DeviceType, features: Features
  ) -> [String] {
    let all = [VisibleField(name: "configuration space", range: 0..<max(one.count, other.count))]
    return (fields(of: type, features: features) ?? all).compactMap { field in
      let (mine, theirs) = (field.text(in: one), field.text(in: other))
      return mine == theirs ? nil : "\(field.name) (\(mine) and \(theirs))"
    }
  }

  private func text(in space: [UInt8]) -> String {
    let digits = range.map { index in
      let byte = index < space.count ? space[index] : 0
      return (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
    return name == "mac" ? digits.joined(separator: ":") : "0x" + digits.reversed().joined()
  }

  /// virtio 1.2, §5.1.4.
  private static let net: [(String, Range<Int>, [Int])] = [
    ("mac", 0..<6, [5]), ("mtu", 10..<12, [3]), ("speed", 12..<16, [63]),
    ("duplex", 16..<17, [63]), ("rss_max_key_size", 17..<18, [57, 60]),
    ("rss_max_indirection_table_length", 18..<20, [60]), ("supported_hash_types", 20..<24, [57, 60]),
  ]

  /// virtio 1.2, §5.2.4.
  private static let block: [(String, Range<Int>, [Int])] = [
    ("capacity", 0..<8, []), ("size_max", 8..<12, [1]), ("seg_max", 12..<16, [2]), ("geometry", 16..<20, [4]),
    ("blk_size", 20..<24, [6]), ("topology", 24..<32, [10]), ("num_queues", 34..<36, [12]),
    ("max_discard_sectors", 36..<40, [13]), ("max_discard_seg", 40..<44, [13]),
    ("discard_sector_alignment", 44..<48, [13]), ("max_write_zeroes_sectors", 48..<52, [14]),
    ("max_write_zeroes_seg", 52..<56, [14]), ("write_zeroes_may_unmap", 56..<57, [14]),
    ("max_secure_erase_sectors", 60..<64, [16]), ("max_secure_erase_seg", 64..<68, [16]),
    ("secure_erase_sector_alignment", 68..<72, [16]),
  ]
}
