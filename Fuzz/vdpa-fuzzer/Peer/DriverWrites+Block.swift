extension DriverWrites {
  /// Kinds of block requests, known and unknown (virtio 1.2, §5.2.6).
  private static let blockKinds: [UInt32] = [0, 1, 4, 8, 11, 13, 10, 14, 2, 0xffff_ffff]

  /// Header, data and status at an address, one behind the other. The header is written; data of requests that have
  /// segments is two of them.
  mutating func blockRequest(_ r: Record, _ list: StoreList) {
    let kind = DriverWrites.blockKinds[Int(r.a & 15) % DriverWrites.blockKinds.count]
    let at = memory.address(r.e, ring: ring)
    // Around both ends of a small disk, and where sums wrap around.
    let sector = r.c & 64 == 0 ? UInt64(r.c & 31) : UInt64.max &- UInt64(r.c & 31)
    list.add(UInt64(kind), to: at, in: memory)
    list.add(sector, to: at &+ 8, in: memory)
    let data = at &+ 16
    let hasSegments = kind == 11 || kind == 13
    for i in 0..<(hasSegments ? UInt64(2) : 0) {
      list.add(sector &+ i, to: data &+ 16 &* i, in: memory)
      list.add(UInt64(r.d & 0x3f) | UInt64(r.b >> 4) << 32, to: data &+ 16 &* i &+ 8, in: memory)
    }
    let length = hasSegments ? 32 : r.length
    let isRead = kind == 0 || kind == 8 || kind == 10
    var pieces = [Piece(address: at, length: r.c & 32 == 0 ? 16 : 15, isWritable: false)]
    let cuts = UInt32(r.b & 7)
    // No data at all without pieces.
    for i in 0..<cuts {
      let start = length / cuts &* i
      let end = i == cuts - 1 ? length : start &+ length / cuts
      pieces.append(Piece(address: data &+ UInt64(start), length: end &- start, isWritable: isRead))
    }
    if r.a & 64 == 0 { pieces.append(Piece(address: data &+ UInt64(length), length: 1, isWritable: true)) }
    add(pieces, table: r.a & 128 == 0 ? nil : at &- 256, list)
  }
}
