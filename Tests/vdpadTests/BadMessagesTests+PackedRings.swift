import FrontEndTestSupport
import Peers
import Testing
import VhostUser
import Virtio

extension BadMessagesTests {
  @Test("Packed rings: sizes and addresses that are wrong, and features that change the format of rings that run")
  func packedRings() async throws {
    try await blocking {
      let features = Features([.version1, .netMergeableBuffers, .protocolFeatures, .packedRing])
      let packed: [(FrontendRequest, [UInt8])] = [(.setFeatures, bytes(features.rawValue))]
      var messages: [Message] = [0, 32769, 65536, .max].map { (size: UInt32) in
        Message(.setVringNum, Self.state(0, size), log: "is not from 1 to 32768", before: packed)
      }
      // Where a split ring may have its available ring.
      for (descriptor, avail, used) in [(8, 0, 0), (0, 2, 0), (0, 0, 2)] as [(UInt64, UInt64, UInt64)] {
        messages.append(
          Message(
            .setVringAddress, Self.address(0, descriptor: descriptor, avail: avail, used: used), log: "misaligned",
            before: packed))
      }
      messages += [
        Message(
          .setVringKick, VringFilePayload(index: 0, hasDescriptor: true).encoded, [.eventFD],
          log: "the descriptor ring at 0x0 (112 bytes) is not inside one memory region",
          before: packed + [(.setVringNum, Self.state(0, 7)), (.setVringAddress, Self.address(0))]),
        // The other format between the ring's description and its start.
        Message(
          .setVringKick, VringFilePayload(index: 0, hasDescriptor: true).encoded, [.eventFD],
          log: "a power of two from 1 to 32768",
          before: packed + [
            (.setVringNum, Self.state(0, 7)), (.setVringAddress, Self.address(0)),
            (.setFeatures, bytes(features.subtracting(.packedRing).rawValue)),
          ]),
        Message(
          .setFeatures, bytes(features.rawValue), [], .running,
          log: "features change while vrings are started: VIRTIO_F_RING_PACKED (34)"),
      ]
      try Self.check(messages, on: Daemon())
    }
  }
}
