/// Puts integers of the host's byte order one after the other.
package struct WireWriter {
  package private(set) var bytes: [UInt8] = []

  package init() {}

  package mutating func append<T: FixedWidthInteger & UnsignedInteger>(_ value: T) {
    let ordered = value.littleEndian
    for shift in stride(from: 0, to: T.bitWidth, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: ordered >> T(shift)))
    }
  }

  package mutating func append(_ raw: [UInt8]) {
    bytes += raw
  }
}
