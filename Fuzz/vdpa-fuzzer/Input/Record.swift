/// Eight bytes of an input: one step of a walker or one thing that its peer writes, with operands.
///
/// Each record means the same wherever it stands, so inputs that libFuzzer cuts and joins stay meaningful.
struct Record {
  /// What to do; the top bit tells a step of the walker from a write of its peer.
  var kind: UInt8
  var a: UInt8 = 0
  var b: UInt8 = 0
  var c: UInt8 = 0
  /// A length, mostly: ``length``.
  var d: UInt16 = 0
  /// An address, mostly: ``FuzzMemory/address(_:ring:)``.
  var e: UInt16 = 0

  static let size = 8
  /// The bit of `kind` that a step of the walker has.
  static let walker: UInt8 = 0x80

  var isStep: Bool { kind & Record.walker != 0 }

  init(kind: UInt8, a: UInt8 = 0, b: UInt8 = 0, c: UInt8 = 0, d: UInt16 = 0, e: UInt16 = 0) {
    self.kind = kind
    self.a = a
    self.b = b
    self.c = c
    self.d = d
    self.e = e
  }

  /// The record that starts at `bytes[offset]`, all of which must be there.
  init(_ bytes: Span<UInt8>, at offset: Int) {
    kind = bytes[offset]
    a = bytes[offset + 1]
    b = bytes[offset + 2]
    c = bytes[offset + 3]
    d = UInt16(bytes[offset + 4]) | UInt16(bytes[offset + 5]) << 8
    e = UInt16(bytes[offset + 6]) | UInt16(bytes[offset + 7]) << 8
  }

  var bytes: [UInt8] {
    [kind, a, b, c, UInt8(d & 0xff), UInt8(d >> 8), UInt8(e & 0xff), UInt8(e >> 8)]
  }

  /// The lengths at which something changes: none, headers, a frame, a page, the longest packet, sums that wrap around.
  static let limits: [UInt32] = [0, 10, 12, 1526, 4096, 65562, 0x8000_0000, 0xffff_fff0]

  /// `d` as a length in bytes: as it is, small, around a limit, or about 64 KiB.
  var length: UInt32 {
    switch d >> 14 {
    case 0: UInt32(d)
    case 1: UInt32(d & 0x3f)
    case 2: Record.limits[Int(d & 7)] &+ UInt32(d >> 3 & 15) &- 4
    default: UInt32(0x1_0000) &+ UInt32(d & 0x3fff) &- 0x2000
    }
  }

  /// The `d` of a length up to 16383.
  static func length(_ bytes: Int) -> UInt16 { UInt16(bytes & 0x3fff) }
  /// The `d` of a limit and up to 11 bytes more, or 4 less.
  static func limit(_ index: Int, plus: Int = 0) -> UInt16 { UInt16(2 << 14 | (plus + 4) << 3 | index) }
}
