extension KeepingDevice {
  /// What drivers do, right and wrong, with a device that reads, writes, and keeps chains for a while.
  static var seeds: [FuzzInput] {
    typealias Write = DriverWrites.Kind
    let at = FuzzMemory.code(anchor: 0, 0)
    func write(_ kind: Write, a: UInt8 = 0, b: UInt8 = 0, c: UInt8 = 0, d: UInt16 = 0, e: UInt16 = at) -> Record {
      Record(kind: kind.rawValue, a: a, b: b, c: c, d: d, e: e)
    }
    func act(_ what: UInt8, chain: UInt8 = 0, length: Int, offset: Int = 0) -> Record {
      Record(
        kind: ChainTarget.act, a: chain, b: what, d: Record.length(length), e: UInt16(bitPattern: Int16(offset)))
    }
    let serve = Record(kind: ChainTarget.serve)
    let proper = write(.properChain, a: 3, b: 2, d: Record.length(40))
    let inTable = write(.properChain, a: 131, b: 2, d: Record.length(40))
    let use = [
      serve, act(0, length: 80), act(0, length: 50, offset: 40), act(2, length: 80), act(4, length: 80),
      act(5, length: 60, offset: 20), act(6, length: 0, offset: 60), serve,
    ]
    let outOfOrder = [serve, act(6, chain: 1, length: 0), serve, act(6, chain: 0, length: 0, offset: -1), serve]
    var bodies: [[Record]] = [[proper] + use, [inTable] + use, [proper, inTable, proper] + outOfOrder]
    // Over the border of two regions, up to the end of the last one, and behind it.
    for (anchor, distance) in [(1, -80), (2, -80), (3, -160), (5, -160), (5, -159), (7, 0)] {
      bodies.append(
        [write(.properChain, a: 3, b: 2, d: Record.length(40), e: FuzzMemory.code(anchor: anchor, distance))] + use)
    }
    bodies += [
      [write(.chain, b: 3, c: 8, d: 1), write(.offer)] + use,
      [write(.chain, b: 255, c: 34, d: 0), write(.offer)] + use,
      [write(.chain, b: 1, c: 2, d: 1), write(.descriptor, a: 1, b: 0, d: 1), write(.offer)] + use,
      [write(.indirect, a: 3, c: 0, d: 20), write(.offer)] + use,
      [write(.indirect, a: 3, c: 40, d: 20), write(.offer)] + use,
      [write(.indirect, a: 3, c: 16, d: 20), write(.offer)] + use,
      [write(.descriptor, b: 4, d: 16), write(.memoryWord), write(.offer)] + use,
      [write(.offer, a: 255), serve], [write(.availIndex, d: 9), serve],
      [write(.head, b: 254), write(.offer, b: 1), serve],
      [write(.offerMany, a: 9, b: 0, c: 0), serve], [write(.event, a: 1), proper] + use,
    ]
    return ChainTarget.inputs(bodies)
  }
}

extension BlockDeviceUnderTest {
  /// Requests of each kind, right and wrong, on a disk that does them at once, later, in another order, or not at all.
  static var seeds: [FuzzInput] {
    let at = FuzzMemory.code(anchor: 0, 0)
    func request(_ kind: UInt8, pieces: UInt8 = 1, sector: UInt8 = 1, _ length: Int = 1024) -> Record {
      Record(
        kind: DriverWrites.Kind.blockRequest.rawValue, a: kind, b: pieces, c: sector, d: Record.length(length), e: at)
    }
    func disk(_ count: UInt8, result: UInt8 = 0) -> Record { Record(kind: ChainTarget.act, a: count, c: result) }
    let serve = Record(kind: ChainTarget.serve)
    var bodies: [[Record]] = []
    for kind: UInt8 in 0..<10 {
      bodies.append([request(kind), serve, disk(15), serve])
      bodies.append([request(kind | 128, pieces: 3, 512), disk(15), serve, serve])
      for result: UInt8 in [1, 2, 3, 5, 6, 7] { bodies.append([request(kind), disk(1, result: result), serve, serve]) }
      // Segments of five sectors, to be unmapped or not.
      for pieces: UInt8 in [1, 0x11] {
        bodies.append([request(kind, pieces: pieces, 5), disk(15), serve, serve, serve])
        bodies.append(
          [request(kind, pieces: pieces, 5), disk(1, result: 7), serve, disk(1, result: 7), serve, disk(15), serve])
      }
    }
    bodies += [
      // Beyond the end, no number of sectors, a header that is too short, no room for the status, no data.
      [request(0, sector: 31), serve], [request(1, sector: 64), serve], [request(0, 100), serve],
      [request(1, sector: 33), serve], [request(64), serve], [request(0, pieces: 0), serve],
      [request(13, pieces: 0), serve],
      // More than the disk takes at once, ending in another order.
      (0..<7).map { request($0 & 1, sector: $0) } + [serve, disk(18), serve, disk(15), serve],
    ]
    return ChainTarget.inputs(bodies)
  }
}

extension ChainTarget {
  /// Each of those records with either format, with and without tables, and in some places.
  static func inputs(_ bodies: [[Record]]) -> [FuzzInput] {
    var inputs: [FuzzInput] = []
    for (i, body) in bodies.enumerated() {
      for variant in 0..<5 {
        var input = FuzzInput()
        input.layout = [0, 1, 2, 0, 3][variant]
        input.size = [4, 5, 4, 13, 9][variant]
        let bits: [FuzzInput.Bits] = [
          .indirect, [.indirect, .eventIndex], [.packed, .indirect], [.packed, .indirect, .inOrder],
          [.packed, .indirect, .eventIndex],
        ]
        input.bits = bits[variant]
        input.rounds = (variant == 1 ? 128 : 0) | 7
        input.position = variant == 2 ? 0x8000 : variant == 3 ? 6 : 0
        input.places = [UInt8(i % 3 == 1 && variant == 1 ? 1 : 0), 0, variant == 0 ? 1 : 0]
        input.records = body
        inputs.append(input)
      }
    }
    return inputs
  }
}
