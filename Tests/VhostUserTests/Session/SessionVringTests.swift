import CLinux
import Foundation
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// Sizes, positions and places of a ring, by the format that the features say (vhost-user, Vring base; virtio 1.2, §2.7
/// and §2.8).
struct SessionVringTests {
  private static let split: Features = [.version1, .protocolFeatures]
  private static let packed: Features = [.version1, .protocolFeatures, .packedRing]
  private static let userBase: UInt64 = 0x7000_0000
  private static let memorySize: UInt64 = 1 << 20

  /// A session that has agreed upon features and has 1 MiB of memory.
  private func state(_ features: Features, guestBase: UInt64 = 0x1_0000) throws -> SessionState {
    var state = SessionState(
      offer: SessionOffer(
        type: .net, features: [.version1, .packedRing], protocolFeatures: [.replyAck], queues: 1, maxRingSize: 1024))
    _ = try state.apply(.setFeatures(features))
    let file = OwnedFD(adopting: FileDescriptor(rawValue: unsafe clinux_memfd("guest")))
    guard ftruncate(file.rawValue, off_t(Self.memorySize)) == 0 else { throw Errno(rawValue: errno) }
    let region = MemoryRegionPayload(
      guestAddress: guestBase, size: Self.memorySize, userAddress: Self.userBase, mapOffset: 0)
    guard
      case .changeMemory(let memory, _) = try state.apply(
        .setMemoryTable(MemoryTablePayload(regions: [region]), descriptors: [file]))
    else { throw Errno.invalidArgument }
    state.take(memory)
    return state
  }

  private func describe(
    _ state: inout SessionState, size: UInt32 = 100, base: UInt32? = nil, avail: UInt64 = 0x8000, used: UInt64 = 0xc000,
    descriptor: UInt64 = 0
  ) throws {
    _ = try state.apply(.setVringNum(VringStatePayload(index: 0, number: size)))
    if let base { _ = try state.apply(.setVringBase(VringStatePayload(index: 0, number: base))) }
    _ = try state.apply(
      .setVringAddress(
        VringAddressPayload(
          index: 0, descriptor: Self.userBase + descriptor, used: Self.userBase + used,
          available: Self.userBase + avail)))
  }

  private func start(_ state: inout SessionState) throws {
    _ = try state.apply(.setVringKick(index: 0, descriptor: nil))
  }

  private func stop(_ state: inout SessionState) { state.vrings[0].stop() }

  private func error(_ body: () throws -> Void) -> VhostUserError? {
    do {
      try body()
      return nil
    } catch {
      return error as? VhostUserError
    }
  }

  // MARK: Sizes

  @Test("A packed ring has any size up to the device's largest", arguments: [1, 2, 3, 7, 100, 255, 256, 1000, 1024])
  func packedSizes(size: UInt32) throws {
    var state = try state(Self.packed)
    try describe(&state, size: size)
    try start(&state)
    #expect(state.vrings[0].started?.size == Int(size))
  }

  @Test("None, more than the device takes and more than any has are refused", arguments: [0, 1025, 32769, .max])
  func badPackedSizes(size: UInt32) throws {
    var state = try state(Self.packed)
    #expect(error { try describe(&state, size: size) } != nil)
    #expect(state.vrings[0].size == nil)
  }

  @Test("A size that the format of other features does not have is found out when the ring starts")
  func sizeOfAnotherFormat() throws {
    var state = try state(Self.packed)
    try describe(&state)
    _ = try state.apply(.setFeatures(Self.split))
    #expect(error { try start(&state) }?.description.contains("not a power of two") == true)
    #expect(!state.vrings[0].isStarted)
  }

  // MARK: Positions

  @Test(
    "A packed ring starts at the available position, whatever else is said",
    arguments: [(0x8000, 0x8000), (0x8000_8000, 0x8000), (0x8005_0005, 5), (0x0063_8063, 0x8063), (0, 0)]
      as [(UInt32, UInt16)])
  func packedPositions(base: UInt32, position: UInt16) throws {
    var state = try state(Self.packed)
    try describe(&state, base: base)
    try start(&state)
    #expect(state.vrings[0].started?.state == VringState(index: 0, nextAvail: position, nextUsed: position))
  }

  @Test("A position behind a packed ring's end is refused, and a better one taken", arguments: [100, 0x8064, 0xffff])
  func packedPositionBehindTheEnd(base: UInt32) throws {
    var state = try state(Self.packed)
    try describe(&state, base: base)
    #expect(error { try start(&state) }?.code == .malformed)
    #expect(!state.vrings[0].isStarted)
    _ = try state.apply(.setVringBase(VringStatePayload(index: 0, number: 0x8063)))
    try start(&state)
  }

  @Test("A position of more than 16 bits is refused for a split ring")
  func longSplitPosition() throws {
    var state = try state(Self.split)
    #expect(error { try describe(&state, size: 64, base: 0x8000_8000) }?.code == .malformed)
  }

  @Test("A ring answers where it stands, in its format, also one that never was started")
  func answers() throws {
    for (features, beginning, set, answer) in [
      (Self.split, 0, 7, 7), (Self.packed, 0x8000_8000, 7, 0x0007_0007),
      (Self.packed, 0x8000_8000, 0x8003, 0x8003_8003),
    ] as [(Features, UInt32, UInt32, UInt32)] {
      var state = try state(features)
      #expect(state.base(of: 0) == beginning)
      try describe(&state, size: 64, base: set)
      #expect(state.base(of: 0) == answer)
      try start(&state)
      stop(&state)
      #expect(state.base(of: 0) == answer)
      try start(&state)
      state.vrings[0].update(VringState(index: 0, nextAvail: 9, nextUsed: 9))
      stop(&state)
      #expect(state.base(of: 0) == (features == Self.split ? 9 : 0x0009_0009))
    }
  }

  @Test("A position of one format is none of the other's: the ring starts at the beginning")
  func otherFormat() throws {
    for (before, after, beginning) in [(Self.split, Self.packed, 0x8000), (Self.packed, Self.split, 0)]
      as [(Features, Features, UInt16)]
    {
      var state = try state(before)
      try describe(&state, size: 64, base: 5)
      try start(&state)
      stop(&state)
      // The same features again leave it where it is.
      _ = try state.apply(.setFeatures(before))
      #expect(state.vrings[0].nextAvail == 5)
      _ = try state.apply(.setFeatures(after))
      try start(&state)
      #expect(state.vrings[0].started?.state.nextAvail == beginning)
    }
  }

  // MARK: Places

  @Test("Event areas of a packed ring are aligned to four bytes, an available ring to two")
  func alignment() throws {
    var state = try state(Self.packed)
    for (avail, used, descriptor) in [(0x8002, 0xc000, 0), (0x8000, 0xc002, 0), (0x8000, 0xc000, 8)]
      as [(UInt64, UInt64, UInt64)]
    {
      #expect(error { try describe(&state, avail: avail, used: used, descriptor: descriptor) }?.code == .malformed)
    }
    var other = try self.state(Self.split)
    try describe(&other, size: 64, avail: 0x8002)
    try start(&other)
    #expect(other.vrings[0].isStarted)
  }

  @Test("Addresses that the format of other features does not allow are found out when the ring starts")
  func alignmentOfAnotherFormat() throws {
    var state = try state(Self.split)
    try describe(&state, size: 64, avail: 0x8002)
    _ = try state.apply(.setFeatures(Self.packed))
    #expect(error { try start(&state) }?.description.contains("aligned") == true)
    #expect(!state.vrings[0].isStarted)
  }

  @Test("It is the guest's address that has to be aligned, not only the front-end's")
  func alignmentOfGuestAddresses() throws {
    var state = try state(Self.packed, guestBase: 0x1_0008)
    try describe(&state)
    #expect(error { try start(&state) }?.description.contains("aligned to 16 bytes") == true)
  }

  @Test("Each part of a packed ring lies in memory, to its last byte")
  func edges() throws {
    let end = Self.memorySize
    for (descriptor, avail, used, isInside) in [
      (end - 1600, 0, 16, true), (end - 1584, 0, 16, false), (0, end - 4, 0x8000, true), (0, end, 0x8000, false),
      (0, 0x8000, end - 4, true), (0, 0x8000, end, false),
    ] as [(UInt64, UInt64, UInt64, Bool)] {
      var state = try state(Self.packed)
      try describe(&state, avail: avail, used: used, descriptor: descriptor)
      #expect((error { try start(&state) } == nil) == isInside)
      #expect(state.vrings[0].isStarted == isInside)
    }
  }
}
