internal import CFuzzer
internal import Glibc
internal import VDPA
internal import Virtio

@testable internal import VhostUser

/// A session against a front-end that says whatever it likes, in whatever order: messages with and without flaws, of every
/// number, between reports and failures of the device.
///
/// Byte 0: bit 0, whether only what the session serves is offered; bit 1, whether the device can no more than it must; bit 2,
/// whether it has a thread of its own.
final class SessionTarget: FuzzTarget {
  /// Also those that a device without them is asked for.
  static let everyProtocolFeature = ProtocolFeatures(rawValue: 1 << 24 - 1)
  static let features: Features = [
    .version1, .netMergeableBuffers, .packedRing, .indirectDescriptors, .eventIndex, .accessPlatform,
  ]

  private let loop: EventLoop
  private let page: OwnedFD

  init() throws {
    cfuzzer_map_without_guards()
    loop = try EventLoop(name: "session")
    page = try EventFD.make()
    // What is made once and stays.
    play(SessionTarget.seeds[0])
  }

  func run(_ input: FuzzInput) {
    let before = cfuzzer_descriptors()
    play(input)
    // Some are closed by a thread of their own.
    var left = cfuzzer_descriptors()
    for _ in 0..<10_000 where left > before {
      usleep(1000)
      left = cfuzzer_descriptors()
    }
    Oracle.require(left == before, "\(left - before) descriptors are left after the end")
  }

  private func play(_ input: FuzzInput) {
    let run = SessionRun(input, page: page, on: loop)
    run.play(input.records)
    run.finish()
  }
}
