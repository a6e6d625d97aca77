import CLinux
import Foundation
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// GET_INFLIGHT_FD and SET_INFLIGHT_FD (vhost-user, Inflight I/O tracking; CVE-2021-3839, CVE-2026-86565, hazards 2 and 3).
struct SessionInflightTests {
  private static let split: Features = [.version1, .protocolFeatures]
  private static let packed: Features = [.version1, .protocolFeatures, .packedRing]
  private static let userBase: UInt64 = 0x7000_0000

  /// A session with two rings and 1 MiB of memory.
  private func state(_ features: Features = split) throws -> SessionState {
    var state = SessionState(
      offer: SessionOffer(
        type: .net, features: [.version1, .packedRing], protocolFeatures: [.replyAck, .inflightSharedMemory], queues: 1,
        maxRingSize: 1024))
    _ = try state.apply(.setFeatures(features))
    let file = try MemoryFile.make("guest", size: 1 << 20)
    let region = MemoryRegionPayload(guestAddress: 0, size: 1 << 20, userAddress: Self.userBase, mapOffset: 0)
    guard
      case .changeMemory(let memory, _) = try state.apply(
        .setMemoryTable(MemoryTablePayload(regions: [region]), descriptors: [file]))
    else { throw Errno.invalidArgument }
    state.take(memory)
    return state
  }

  private func make(
    _ state: inout SessionState, _ queues: UInt16, _ size: UInt16
  ) throws -> (payload: InflightPayload, file: OwnedFD) {
    let action = try state.apply(.getInflightFD(InflightPayload(queues: queues, queueSize: size)))
    guard case .inflightRecord(let payload, let file) = action else { throw Errno.invalidArgument }
    return (payload, file)
  }

  private func start(_ state: inout SessionState, _ index: UInt32 = 0, size: UInt32 = 64) throws {
    let base = Self.userBase + UInt64(index) << 16
    _ = try state.apply(.setVringNum(VringStatePayload(index: index, number: size)))
    _ = try state.apply(
      .setVringAddress(
        VringAddressPayload(index: index, descriptor: base, used: base + 0x8000, available: base + 0x4000)))
    _ = try state.apply(.setVringKick(index: index, descriptor: nil))
  }

  private func code(_ body: () throws -> Void) -> VhostUserError? {
    do {
      try body()
      return nil
    } catch {
      return error as? VhostUserError
    }
  }

  @Test("A record is as large as its rings need, empty, and sealed", arguments: [split, packed])
  func made(features: Features) throws {
    var state = try state(features)
    let (payload, file) = try make(&state, 2, 64)
    let layout = try InflightLayout(RingLayout.Format(for: features), queues: 2, queueSize: 64)
    #expect(payload.size == UInt64(layout.bytes) && payload.offset == 0)
    #expect(payload.queues == 2 && payload.queueSize == 64)
    var info = stat()
    #expect(unsafe fstat(file.rawValue, &info) == 0 && info.st_size == layout.bytes && info.st_blocks == 0)
    #expect(ftruncate(file.rawValue, 0) != 0 && ftruncate(file.rawValue, 1 << 20) != 0)
    // It is used when it comes back, not before.
    #expect(state.inflight == nil)
    _ = try state.apply(.setInflightFD(payload, descriptor: file))
    #expect(state.inflight?.layout == layout)
  }

  @Test("A record for more rings than there are, for none, or of a size that no ring has is refused, made or brought")
  func numbers() throws {
    var state = try state()
    let file = try MemoryFile.make("record", size: 1 << 20)
    for (queues, size) in [
      (0, 64), (3, 64), (258, 64), (65535, 64), (1, 0), (1, 63), (1, 2048), (2, 65535), (65535, 65535),
    ] as [(UInt16, UInt16)] {
      for message in [
        FrontendMessage.getInflightFD(InflightPayload(queues: queues, queueSize: size)),
        .setInflightFD(InflightPayload(size: 1 << 20, queues: queues, queueSize: size), descriptor: file),
      ] {
        let error = code { _ = try state.apply(message) }
        #expect(error?.code == .indexOutOfRange || error?.code == .malformed, "\(queues) \(size): \(error as Any)")
      }
    }
    #expect(state.inflight == nil)
  }

  @Test("A record that is smaller than its rings need, or than its file, or no memory, is refused; the last one stays")
  func files() throws {
    var state = try state()
    let (good, file) = try make(&state, 2, 64)
    _ = try state.apply(.setInflightFD(good, descriptor: file))
    let record = state.inflight
    let null = OwnedFD(adopting: try unsafe FileDescriptor.open("/dev/null", .readWrite))
    for (size, offset, file) in [
      (good.size - 1, 0, file), (0, 0, file), (good.size, 64, file), (good.size, 8, file), (good.size, 1 << 40, file),
      (good.size, 0, null), (good.size, 0, try EventFD.make()),
    ] as [(UInt64, UInt64, OwnedFD)] {
      let payload = InflightPayload(size: size, offset: offset, queues: 2, queueSize: 64)
      #expect(code { _ = try state.apply(.setInflightFD(payload, descriptor: file)) }?.code == .badMemory)
      #expect(state.inflight === record)
    }
  }

  @Test("A ring that the record has no room for is not started, and the error names it")
  func mismatch() throws {
    for (features, later, size, queues) in [
      (Self.split, Self.split, UInt32(128), UInt16(2)), (Self.split, Self.split, 64, 1),
      (Self.split, Self.packed, 64, 2), (Self.packed, Self.split, 64, 2),
    ] {
      var state = try state(features)
      let (payload, file) = try make(&state, queues, 64)
      _ = try state.apply(.setInflightFD(payload, descriptor: file))
      _ = try state.apply(.setFeatures(later))
      let error = code { try start(&state, 1, size: size) }
      #expect(error?.code == .outOfState && error?.ring == 1, "\(error as Any)")
      #expect(!state.vrings[1].isStarted)
    }
  }

  @Test("Rings get their part of the record; it cannot change while one is started, and ends with a reset")
  func given() throws {
    var state = try state()
    let (payload, file) = try make(&state, 2, 64)
    _ = try state.apply(.setInflightFD(payload, descriptor: file))
    try start(&state, 0)
    // A driver may make its ring smaller than the device offers.
    try start(&state, 1, size: 32)
    #expect(state.vrings.allSatisfy { $0.started?.inflight != nil })
    #expect(code { _ = try state.apply(.setInflightFD(payload, descriptor: file)) }?.code == .outOfState)
    state.resetVrings()
    try start(&state)
    #expect(state.vrings[0].started?.inflight == nil)
  }
}
