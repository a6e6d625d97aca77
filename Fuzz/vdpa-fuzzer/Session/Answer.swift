internal import VhostUser

/// What a back-end has answered.
struct Answer {
  let request: UInt32
  let payload: [UInt8]

  /// Takes the first answer off the bytes; nil while it is not whole.
  init?(takingFrom bytes: inout [UInt8]) {
    func word(_ i: Int) -> UInt32 { bytes[i..<i + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) } }
    guard bytes.count >= 12 else { return nil }
    Oracle.require(word(4) == 5, "the flags of an answer are \(word(4))")
    let size = Int(word(8))
    Oracle.require(size <= MessageHeader.maximumPayload, "an answer of \(size) bytes")
    guard bytes.count >= 12 + size else { return nil }
    request = word(0)
    payload = Array(bytes[12..<12 + size])
    bytes.removeFirst(12 + size)
  }
}
