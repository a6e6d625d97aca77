import ArgumentParser
import CLinux
import CRingLoop
import Foundation
import Peers
import Virtio

/// The ring code beside a loop in C that makes the same checks.
struct Rings: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rings",
    abstract: "Nanoseconds a packet of the ring code, beside a loop in C that makes the same checks.",
    discussion: """
      One thread, everything warm: a driver offers all buffers of a ring, then the device side takes packets out of them or \
      writes packets into them, in bursts of 32, and only the latter's time is taken. Both codes play on the same memory, in \
      turns. Every case is first run with known bytes, all of which are compared. The table has the medians over the rounds; \
      the ratio is C's time to Swift's in the same round, so that more than 1 means that the Swift code is faster.
      """)

  @Option(help: "Ring formats: split, packed.", transform: { try list($0) { RingLayout.Format(name: $0) } })
  var formats = RingLayout.Format.allCases

  @Option(
    help: "Which way packets go: dequeue (from the guest), enqueue (to it).",
    transform: { try list($0) { RingCase.Direction(rawValue: $0) } })
  var direction = RingCase.Direction.allCases

  @Option(help: "Payloads in bytes.", transform: { try list($0) { Int($0) } })
  var bytes = [64]

  @Option(help: "Descriptors a ring.")
  var size = 256

  @Option(
    help: "Regions of guest memory, of which each packet is in another one than that before.",
    transform: { try list($0) { Int($0) } })
  var regions = [1]

  @Option(
    help: "Whether a packet may fill several buffers of the guest: on, off.",
    transform: { try list($0, onOrOff) })
  var mergeable = [true]

  @Flag(help: "Packets of the Swift code are in a pool's buffers; those of the C code are in an arena all the same.")
  var pool = false

  @Option(help: "How often each code is measured.")
  var rounds = 41

  @Option(help: "How often a ring is filled a measurement.")
  var laps = 2000

  @Option(help: "The CPU to run on.")
  var cpu = PeerCPU.backEnd

  @Option(help: "Only one code, swift or c, for so many --bursts and without a figure: for whoever counts otherwise.")
  var only: RingSide?

  @Option(help: "How many bursts of 32 packets.")
  var bursts = 1024

  @Flag(help: "JSON in place of the table.")
  var json = false

  func validate() throws {
    guard rounds > 0, laps > 0, bursts > 0 else { throw ValidationError("rounds, laps and bursts have to be positive") }
    guard bytes.allSatisfy({ (1...PacketBurst.maxPayloadLength).contains($0) }) else {
      throw ValidationError("payloads have 1 to \(PacketBurst.maxPayloadLength) bytes")
    }
    guard regions.allSatisfy({ (1...GuestMemory.maxRegions).contains($0) }) else {
      throw ValidationError("there are 1 to \(GuestMemory.maxRegions) regions")
    }
    guard size.isMultiple(of: PacketBurst.capacity), (32...RingLayout.maxSize).contains(size) else {
      throw ValidationError("a ring has a multiple of 32 descriptors, from 32 to \(RingLayout.maxSize)")
    }
    guard formats == [.packed] || size.nonzeroBitCount == 1 else {
      throw ValidationError("a split ring has a power of two of descriptors")
    }
  }

  func run() throws {
    var cases = RingCase.all(
      formats: formats, directions: direction, bytes: bytes, size: size, regions: regions, mergeable: mergeable)
    for i in cases.indices { cases[i].isPooled = pool }
    if let only {
      for ringCase in cases { try RingMeasurement(ringCase, laps: laps).count(only, bursts: bursts) }
      return
    }
    var pinned = CInt(cpu)
    guard unsafe clinux_pin(&pinned, 1) == 0 else {
      throw ValidationError("CPU \(cpu) is not one this process may run on (\(PeerCPU.allowed))")
    }
    var report = RingReport(isNative: cring_is_native())
    for ringCase in cases {
      let measurement = try RingMeasurement(ringCase, laps: laps)
      var row = RingReport.Row(ringCase: ringCase)
      for side in RingSide.allCases { try measurement.verify(side) }
      for round in 0..<rounds {
        for side in round.isMultiple(of: 2) ? RingSide.allCases : RingSide.allCases.reversed() {
          row.nanoseconds.add(try measurement.nanoseconds(side), of: side)
        }
      }
      report.rows.append(row)
    }
    print(json ? try report.json() : report.table())
  }
}

extension RingSide: ExpressibleByArgument {}

extension RingLayout.Format {
  init?(name: String) {
    guard let format = RingLayout.Format.allCases.first(where: { "\($0)" == name }) else { return nil }
    self = format
  }
}
