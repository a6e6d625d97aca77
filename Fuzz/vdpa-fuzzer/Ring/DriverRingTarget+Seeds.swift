extension DriverRingTarget {
  private typealias Write = DeviceWrites.Kind
  private typealias Step = DriverRingRun.Step

  private static func write(
    _ kind: Write, a: UInt8 = 0, b: UInt8 = 0, c: UInt8 = 0, d: UInt16 = 0, e: UInt16 = 0
  ) -> Record { Record(kind: kind.rawValue, a: a, b: b, c: c, d: d, e: e) }

  private static func step(_ step: Step, a: UInt8 = 0, b: UInt8 = 0, c: UInt8 = 0, d: UInt16 = 0) -> Record {
    Record(kind: Record.walker | step.rawValue, a: a, b: b, c: c, d: d, e: FuzzMemory.code(anchor: 0, 0))
  }

  static var seeds: [FuzzInput] {
    let collect = step(.collect, a: 15)
    let publish = step(.publish)
    /// That many chains of one descriptor are added and announced.
    func offer(_ count: UInt8) -> [Record] { [step(.add, c: count - 1, d: 64), publish] }
    let inOrder = [write(.giveBack, d: 64), write(.giveBack, d: 0), collect]
    let outOfOrder = [write(.giveBack, a: 2), collect, write(.giveBack, a: 1), collect]
    let inParts = [write(.giveBackMany, a: 3, c: 1, d: 64), collect, step(.setWantsCalls, a: 1)]
    // What no correct device does: a head that it does not have, one twice, one not announced, more bytes than there is
    // room for, an index too far ahead.
    let unknown = [write(.giveBack, a: 200), collect, write(.entry, a: 0, b: 16, e: 1), collect]
    let twice = [write(.entry, e: 0), write(.entry, a: 1, e: 0), write(.usedIndex, d: 2), collect]
    let notAnnounced = [step(.add, d: 64), write(.entry, e: 1), write(.usedIndex, d: 1), collect]
    let ahead = [write(.usedIndex, d: 9), collect, write(.event, a: 1), publish]
    let descriptors = [write(.ringWord, a: 0, d: 12, e: 0xffff), write(.giveBack), collect]
    let bodies: [[Record]] = [
      [step(.add, a: 1, b: 1, c: 3, d: 64), publish] + inOrder, offer(8) + outOfOrder, offer(64) + inParts,
      offer(1) + unknown, offer(2) + twice, offer(1) + notAnnounced, offer(1) + [write(.giveBack, d: 65), collect],
      [step(.add, a: 130, b: 1, c: 3, d: 64), publish] + inOrder,
      offer(8) + [write(.giveBack, a: 5), collect, collect],
      offer(1) + ahead, [step(.add, a: 15, b: 8, d: 64), publish] + descriptors,
    ]
    var inputs: [FuzzInput] = []
    for body in bodies {
      for variant in 0..<6 {
        var input = FuzzInput()
        input.layout = UInt8(variant % 4)
        input.size = [0, 4, 3, 9, 13, 4][variant]
        let bits: [FuzzInput.Bits] = [[], .indirect, .eventIndex, .inOrder, .packed, [.packed, .inOrder, .eventIndex]]
        input.bits = bits[variant]
        input.rounds = 7
        input.position = [0, 0, 65535, 0, 0x8000, 14][variant]
        input.places = [0, 0, variant == 0 ? 0x11 : 0]
        // Tables of three.
        input.placeOffset = 0x402
        input.records = body
        inputs.append(input)
      }
    }
    return inputs
  }
}
