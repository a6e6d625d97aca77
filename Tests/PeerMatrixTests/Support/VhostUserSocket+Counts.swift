import Foundation
import Testing
import VDPA
import VhostUser

extension VhostUserSocket {
  /// Packets that the device gave to the front-end, by queue pair.
  var given: [UInt64] { stride(from: 0, to: statistics.count, by: 2).map { statistics[$0].packets } }
  /// Packets that the device took from the front-end, by queue pair.
  var taken: [UInt64] { stride(from: 1, to: statistics.count, by: 2).map { statistics[$0].packets } }
  /// Bytes of those.
  var takenBytes: UInt64 { stride(from: 1, to: statistics.count, by: 2).reduce(0) { $0 + statistics[$1].bytes } }
  /// All packets, either way.
  var packets: UInt64 { statistics.reduce(0) { $0 + $1.packets } }
  /// All packets that went nowhere.
  var dropped: UInt64 { statistics.reduce(0) { $0 + $1.dropped } }

  /// Waits until the device has moved `count` more packets. False when it has not in ten seconds.
  func moves(_ count: UInt64 = 1000) -> Bool {
    let before = packets
    return becomesTrue { packets >= before + count }
  }

  /// Waits until the device moves no more packets. False when it still does after ten seconds.
  func standsStill() -> Bool {
    becomesTrue {
      let before = packets
      Thread.sleep(forTimeInterval: 0.1)
      return packets == before
    }
  }
}

/// Whether `condition` comes true within ten seconds.
func becomesTrue(_ condition: () -> Bool) -> Bool {
  let deadline = ContinuousClock.now + .seconds(10)
  while !condition() {
    guard ContinuousClock.now < deadline else { return false }
    Thread.sleep(forTimeInterval: 0.005)
  }
  return true
}

extension Sequence<UInt64> {
  var sum: UInt64 { reduce(0, +) }
}
