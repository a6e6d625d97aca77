import CRingLoop
import Virtio

/// Something whose instructions are counted.
enum CountedCase: Sendable {
  case rings(RingCase, RingSide)
  case datapath(DatapathCase)

  /// All of them, in the order in which they run.
  static let all: [CountedCase] = {
    let rings = RingCase.all(
      formats: [.split, .packed], directions: RingCase.Direction.allCases, bytes: [64], size: 256, regions: [1, 509],
      mergeable: [true, false])
    let pooled = RingLayout.Format.allCases.map { RingCase(format: $0, isPooled: true) }
    let datapath = Port.allCases.flatMap { port in
      [
        DatapathCase(port: port), DatapathCase(port: port, format: .packed), DatapathCase(port: port, pairs: 64),
        DatapathCase(port: port, regions: 509), DatapathCase(port: port, isInOrder: true),
        DatapathCase(port: port, format: .packed, isInOrder: true),
      ]
    }
    return rings.flatMap { ringCase in RingSide.allCases.map { .rings(ringCase, $0) } }
      + pooled.map { .rings($0, .swift) } + datapath.map { .datapath($0) }
  }()

  /// What it is called, with either code.
  var name: String {
    switch self {
    case .rings(let ringCase, _): "rings " + ringCase.name
    case .datapath(let datapathCase): "datapath " + datapathCase.name
    }
  }

  var side: RingSide {
    switch self {
    case .rings(_, let side): side
    case .datapath: .swift
    }
  }

  /// Runs it; returns how many packets callgrind has seen.
  func run() throws -> Int {
    switch self {
    case .rings(let ringCase, let side):
      let bursts = 256
      try RingMeasurement(ringCase, laps: 1).count(side, bursts: bursts)
      return bursts * Int(CRING_BURST)
    case .datapath(let datapathCase): return try datapathCase.count(laps: datapathCase.pairs == 1 ? 16 : 2)
    }
  }
}
