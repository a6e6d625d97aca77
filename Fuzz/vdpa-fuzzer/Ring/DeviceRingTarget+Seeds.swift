extension DeviceRingTarget {
  private typealias Write = DriverWrites.Kind
  private typealias Step = DeviceRingRun.Step

  private static func write(
    _ kind: Write, a: UInt8 = 0, b: UInt8 = 0, c: UInt8 = 0, d: UInt16 = 0, e: UInt16 = FuzzMemory.code(anchor: 0, 0)
  ) -> Record { Record(kind: kind.rawValue, a: a, b: b, c: c, d: d, e: e) }

  private static func step(_ step: Step, a: UInt8 = 0, b: UInt8 = 0, d: UInt16 = 0, e: UInt16 = 0) -> Record {
    Record(kind: Record.walker | step.rawValue, a: a, b: b, d: d, e: e)
  }

  static var seeds: [FuzzInput] {
    let take = [step(.fetch, b: 9), step(.dequeue, a: 32), step(.complete, a: 31)]
    let send = [step(.fetch, b: 9), step(.enqueue, a: 3, d: Record.length(100))]
    let sendLong = [step(.enqueue, a: 3, d: Record.limit(5, plus: -4))]
    /// Correct chains of 1 to 3 pieces, the device reads or writes them.
    func chains(_ pieces: UInt8, reads: Bool, _ length: Int, _ e: UInt16 = FuzzMemory.code(anchor: 0, 0)) -> [Record] {
      (0..<2).map { _ in
        write(.properChain, a: pieces - 1, b: reads ? pieces : 0, d: Record.length(length), e: e)
      }
    }
    var bodies: [[Record]] = []
    for pieces: UInt8 in [1, 3] {
      for length in [5, 64, 1526] {
        bodies.append(chains(pieces, reads: true, length) + take + [step(.wantsCall)])
        bodies.append(chains(pieces, reads: false, length) + send + [step(.setWantsKicks)])
      }
    }
    // Over the border of two regions, up to the end of the last one, and behind it.
    for (anchor, distance) in [(1, -30), (2, -30), (3, -60), (4, 0), (5, -60), (5, -59), (7, 0), (7, -60)] {
      let e = FuzzMemory.code(anchor: anchor, distance)
      bodies.append(chains(1, reads: true, 60, e) + take)
      bodies.append(chains(1, reads: false, 60, e) + [step(.enqueue, a: 0, d: Record.length(48))])
    }
    // What no correct driver writes.
    let loop = write(.chain, a: 0, b: 3, c: 8, d: Record.length(1))
    let shared = write(.chain, a: 0, b: 255, c: 2, d: Record.length(1))
    bodies += [
      [loop, write(.offer)] + take,
      [write(.chain, a: 0, b: 3, c: 10, d: 0), write(.offer)] + send,
      [shared, write(.offer, b: 7)] + sendLong,
      [write(.chain, a: 0, b: 255, c: 32, d: 0), write(.offer, b: 15)] + take,
      [write(.chain, a: 0, b: 255, c: 34, d: Record.length(1)), write(.offer)] + sendLong,
      [write(.descriptor, a: 0, b: 1, c: 255, d: Record.length(20)), write(.offer)] + take,
      [write(.descriptor, a: 0, b: 3, c: 254, d: Record.length(20)), write(.offer)] + send,
      [write(.descriptor, a: 0, b: 2, d: Record.length(20)), write(.offer)] + take,
      [write(.properChain, a: 3, b: 1, d: Record.length(40))] + send,
      [write(.descriptor, a: 0, b: 0, d: Record.limit(7)), write(.offer)] + take,
      [write(.descriptor, a: 0, b: 2, d: Record.limit(7)), write(.offer)] + send,
      [write(.descriptor, a: 0, b: 0, d: Record.limit(5)), write(.offer)] + take,
      [write(.offer, a: 255)] + take,
      [write(.availIndex, d: 9)] + take,
      [write(.indirect, a: 3, b: 0, c: 0, d: Record.length(20)), write(.offer)] + take,
      [write(.indirect, a: 3, b: 0, c: 2, d: Record.length(20)), write(.offer)] + send,
      [write(.indirect, a: 3, b: 0, c: 40, d: Record.length(20)), write(.offer)] + take,
      [write(.indirect, a: 3, b: 0, c: 16, d: Record.length(20)), write(.offer)] + take,
      // Tables that loop.
      [write(.indirect, a: 3, b: 0, c: 8, d: Record.length(0)), write(.offer)] + take,
      [write(.indirect, a: 3, b: 0, c: 10, d: Record.length(0)), write(.offer)] + send,
      // A table in a table, and a chain that goes on behind one.
      [write(.indirect, a: 1, b: 0, c: 4, d: Record.length(16)), write(.offer)] + take,
      [write(.descriptor, a: 0, b: 5, c: 1, d: Record.length(16)), write(.offer)] + take,
      chains(2, reads: true, 40) + [step(.dequeue, a: 2), step(.giveBack), step(.dequeue, a: 2)] + take
        + [step(.restart, a: 2)] + take,
      chains(1, reads: true, 80) + take + chains(1, reads: false, 80) + [step(.echo), step(.pending)],
      chains(1, reads: true, 80, FuzzMemory.code(anchor: 6, 16)) + take + chains(1, reads: false, 80) + [step(.echo)],
      [
        write(.memoryWord, a: 1, e: FuzzMemory.code(anchor: 6, 0)), write(.ringWord, a: 1, d: 4, e: 3),
        write(.event, a: 1), step(.wantsCall),
        step(.lookUp, d: Record.length(60), e: FuzzMemory.code(anchor: 1, -30)),
      ],
    ]
    var inputs: [FuzzInput] = []
    for (i, body) in bodies.enumerated() {
      for variant in 0..<6 {
        var input = FuzzInput()
        input.layout = UInt8(variant % 4)
        input.size = [0, 4, 1, 9, 13, 4][variant]
        let bits: [FuzzInput.Bits] = [
          [.mergeable, .indirect], [], [.mergeable, .legacyHeader, .eventIndex], [.indirect, .mergeable, .pool],
          [.packed, .mergeable, .indirect], [.packed, .eventIndex, .pool],
        ]
        input.bits = i % 2 == 0 ? bits[variant] : bits[variant].union(.logged)
        input.rounds = 7
        input.position = [0, 0, 65535, 0, 0x8000, 14][variant]
        // Each part at the end of a region in turn.
        input.places = [UInt8(i % 3 == 1 && variant == 1 ? 1 : 0), 0, variant == 0 ? 0x11 : 0]
        input.records = body
        inputs.append(input)
      }
    }
    return inputs
  }
}
