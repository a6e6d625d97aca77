internal import CLinux

/// One ring's region of an in-flight record: every access is one load or store of a field's width inside of it.
///
/// What it has to outlive is the end of this process, which comes between two instructions: so the order in which the stores
/// stand in the program is kept, among each other and with those to the ring, and nothing else is needed.
@safe struct InflightBytes {
  private let base: UnsafeMutableRawPointer
  private let count: Int
  var onStore: (@Sendable () -> Void)?

  /// Bytes that are mapped for as long as the value is used, aligned to 8.
  @unsafe init(_ base: UnsafeMutableRawPointer, count: Int) {
    unsafe self.base = base
    self.count = count
  }

  private func at(_ offset: Int, _ width: Int) -> UnsafeMutableRawPointer {
    precondition(offset >= 0 && offset % width == 0 && offset <= count - width)
    return unsafe base + offset
  }

  func u8(_ offset: Int) -> UInt8 { unsafe clinux_load_u8(at(offset, 1)) }
  func u16(_ offset: Int) -> UInt16 { unsafe clinux_load_u16(at(offset, 2)) }
  func u32(_ offset: Int) -> UInt32 { unsafe clinux_load_u32(at(offset, 4)) }
  func u64(_ offset: Int) -> UInt64 { unsafe clinux_load_u64(at(offset, 8)) }

  private func beforeStore() {
    onStore?()
    clinux_compiler_fence()
  }

  func store(_ value: UInt8, at offset: Int) {
    beforeStore()
    unsafe clinux_store_u8(at(offset, 1), value)
  }
  func store(_ value: UInt16, at offset: Int) {
    beforeStore()
    unsafe clinux_store_u16(at(offset, 2), value)
  }
  func store(_ value: UInt32, at offset: Int) {
    beforeStore()
    unsafe clinux_store_u32(at(offset, 4), value)
  }
  func store(_ value: UInt64, at offset: Int) {
    beforeStore()
    unsafe clinux_store_u64(at(offset, 8), value)
  }
}

/// What the regions of both formats begin with.
extension InflightBytes {
  private static let featuresOffset = 0
  private static let versionOffset = 8
  private static let countOffset = 10
  private static let version: UInt16 = 1

  /// Whether somebody has begun to use it.
  ///
  /// - Throws: ``VirtioError`` `badInflightRecord`, when it is of another version, or for rings of another size.
  func isInitialised(capacity: Int) throws(VirtioError) -> Bool {
    let version = u16(InflightBytes.versionOffset)
    guard version != 0 else { return false }
    let features = u64(InflightBytes.featuresOffset)
    guard version == InflightBytes.version, features == 0 else {
      throw VirtioError(
        .badInflightRecord,
        "the in-flight record is of version \(version) with features 0x\(String(features, radix: 16)); only version "
          + "\(InflightBytes.version) without any is known")
    }
    let count = Int(u16(InflightBytes.countOffset))
    guard count == capacity else {
      throw VirtioError(
        .badInflightRecord, "the in-flight record says that it is for \(count) descriptors; it has room for \(capacity)"
      )
    }
    return true
  }

  /// Says that all that follows is in order: the last step of making a region.
  func setInitialised(capacity: Int) {
    store(UInt64(0), at: InflightBytes.featuresOffset)
    store(UInt16(truncatingIfNeeded: capacity), at: InflightBytes.countOffset)
    store(InflightBytes.version, at: InflightBytes.versionOffset)
  }
}
