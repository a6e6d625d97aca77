import CLinux
import Foundation
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// The protocol's rules, message by message, without any device (vhost-user, Ring states; Multiple queue support).
struct SessionStateTests {
  private static let offer = SessionOffer(
    type: .net, features: [.version1, .netMergeableBuffers, .netMultiqueue],
    protocolFeatures: [.multiqueue, .replyAck, .memorySlots, .status], queues: 2, maxRingSize: 256)

  private func state() -> SessionState { SessionState(offer: SessionStateTests.offer) }

  /// A memory file of 1 MiB that the front-end sees at 0x7000_0000 and the guest at 0x1_0000.
  private func memory() throws -> (table: MemoryTablePayload, file: OwnedFD) {
    let file = OwnedFD(adopting: FileDescriptor(rawValue: unsafe clinux_memfd("guest")))
    guard ftruncate(file.rawValue, 1 << 20) == 0 else { throw Errno(rawValue: errno) }
    let region = MemoryRegionPayload(
      guestAddress: 0x1_0000, size: 1 << 20, userAddress: 0x7000_0000, mapOffset: 0)
    return (MemoryTablePayload(regions: [region]), file)
  }

  private func share(_ state: inout SessionState) throws {
    let (table, file) = try memory()
    guard case .changeMemory(let memory, _) = try state.apply(.setMemoryTable(table, descriptors: [file])) else {
      Issue.record("no memory")
      return
    }
    state.take(memory)
  }

  private func address(_ index: UInt32, at base: UInt64 = 0x7000_0000) -> VringAddressPayload {
    let start = base + UInt64(index) * 0x4000
    return VringAddressPayload(
      index: index, descriptor: start, used: start + 0x2000, available: start + 0x1000)
  }

  private func start(_ index: UInt32, in state: inout SessionState) throws {
    _ = try state.apply(.setVringNum(VringStatePayload(index: index, number: 64)))
    _ = try state.apply(.setVringBase(VringStatePayload(index: index, number: 7)))
    _ = try state.apply(.setVringAddress(address(index)))
    _ = try state.apply(.setVringKick(index: index, descriptor: try EventFD.make()))
  }

  private func refuses(
    _ code: VhostUserError.Code, _ message: FrontendMessage, in state: inout SessionState,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(sourceLocation: sourceLocation) {
      _ = try state.apply(message)
    } throws: {
      ($0 as? VhostUserError)?.code == code
    }
  }

  @Test("What is missing is said in words, in the order in which a front-end brings it")
  func missingInOrder() throws {
    var state = state()
    #expect(state.missing?.contains("SET_FEATURES") == true)
    _ = try state.apply(.setProtocolFeatures([.replyAck, .status]))
    _ = try state.apply(.setFeatures([.version1, .protocolFeatures]))
    #expect(state.missing?.contains("memory") == true)
    try share(&state)
    #expect(state.missing?.contains("vring 0") == true)
    try start(0, in: &state)
    #expect(state.missing?.contains("vring 1") == true)
    try start(1, in: &state)
    #expect(state.missing?.contains("DRIVER_OK") == true)
    _ = try state.apply(.setStatus([.acknowledge, .driver, .featuresOK, .driverOK]))
    #expect(state.missing == nil)
    // The second pair may come later.
    #expect(!state.vrings[2].isStarted)
  }

  @Test("Features beyond the offer are refused by name, and change nothing")
  func featuresBeyondTheOffer() throws {
    var state = state()
    #expect {
      _ = try state.apply(.setFeatures([.version1, .packedRing]))
    } throws: {
      "\($0)".contains("VIRTIO_F_RING_PACKED (34)") && !"\($0)".contains("VERSION_1")
    }
    #expect(state.accepted == nil)
    refuses(.notNegotiated, .setProtocolFeatures([.replyAck, .logSharedMemory]), in: &state)
    #expect(state.protocolFeatures == [])
  }

  @Test("While a ring is started, the same features may come again and others may not")
  func featuresWhileStarted() throws {
    var state = state()
    let accepted: Features = [.version1, .protocolFeatures]
    _ = try state.apply(.setFeatures(accepted))
    try share(&state)
    try start(0, in: &state)
    _ = try state.apply(.setFeatures(accepted))
    refuses(.outOfState, .setFeatures([.version1, .netMergeableBuffers, .protocolFeatures]), in: &state)
    refuses(.outOfState, .setProtocolFeatures([.status]), in: &state)
    #expect(state.accepted == accepted)
  }

  @Test("Rings start enabled only if bit 30 was not accepted")
  func enabledWithoutProtocolFeatures() throws {
    var without = state()
    _ = try without.apply(.setFeatures([.version1]))
    #expect(without.vrings.map(\.isEnabled) == [true, true, true, true])
    var with = state()
    _ = try with.apply(.setFeatures([.version1, .protocolFeatures]))
    #expect(with.vrings.map(\.isEnabled) == [false, false, false, false])
    _ = try with.apply(.setVringEnable(index: 3, enabled: true))
    #expect(with.vrings.map(\.isEnabled) == [false, false, false, true])
  }

  @Test("A started ring's parameters cannot change, but for the same addresses again")
  func startedRingIsFixed() throws {
    var state = state()
    try share(&state)
    try start(1, in: &state)
    refuses(.outOfState, .setVringNum(VringStatePayload(index: 1, number: 64)), in: &state)
    refuses(.outOfState, .setVringBase(VringStatePayload(index: 1, number: 0)), in: &state)
    refuses(.outOfState, .setVringAddress(address(1, at: 0x7001_0000)), in: &state)
    _ = try state.apply(.setVringAddress(address(1)))
    #expect(state.vrings[1].started?.descriptor == 0x1_4000)
    #expect(state.vrings[1].started?.state.nextAvail == 7)
  }

  @Test("A ring cannot start before its size, its addresses and its memory are there")
  func startNeedsEverything() throws {
    var state = state()
    let kick = FrontendMessage.setVringKick(index: 0, descriptor: try EventFD.make())
    refuses(.outOfState, kick, in: &state)
    _ = try state.apply(.setVringNum(VringStatePayload(index: 0, number: 64)))
    refuses(.outOfState, kick, in: &state)
    _ = try state.apply(.setVringAddress(address(0)))
    refuses(.badMemory, kick, in: &state)
    try share(&state)
    _ = try state.apply(kick)
    #expect(state.vrings[0].isStarted)
  }

  @Test("A ring that lies at the edge of memory must lie inside, each part of it")
  func ringAtTheEdge() throws {
    for (part, isInside) in [(0, true), (1, false), (2, false), (3, false)] {
      var state = state()
      try share(&state)
      _ = try state.apply(.setVringNum(VringStatePayload(index: 0, number: 256)))
      let end: UInt64 = 0x7000_0000 + 1 << 20
      let table = end - UInt64(4096) + (part == 1 ? 16 : 0)
      let avail = part == 2 ? end - 516 : 0x7000_0000
      let used = part == 3 ? end - 2052 : 0x7000_1000
      _ = try state.apply(
        .setVringAddress(VringAddressPayload(index: 0, descriptor: table, used: used, available: avail)))
      let kick = FrontendMessage.setVringKick(index: 0, descriptor: nil)
      if isInside { _ = try state.apply(kick) } else { refuses(.badMemory, kick, in: &state) }
    }
  }

  @Test(
    "Indices beyond the rings are refused with all their 32 bits", arguments: [4, 0x1_0000, 0xffff_fffc] as [UInt32])
  func indexOutOfRange(index: UInt32) throws {
    var state = state()
    refuses(.indexOutOfRange, .setVringNum(VringStatePayload(index: index, number: 64)), in: &state)
    refuses(.indexOutOfRange, .setVringBase(VringStatePayload(index: index, number: 0)), in: &state)
    refuses(.indexOutOfRange, .setVringAddress(address(index)), in: &state)
    refuses(.indexOutOfRange, .getVringBase(index: index), in: &state)
    refuses(.indexOutOfRange, .setVringKick(index: index, descriptor: nil), in: &state)
    refuses(.indexOutOfRange, .setVringCall(index: index, descriptor: nil), in: &state)
    refuses(.indexOutOfRange, .setVringError(index: index, descriptor: nil), in: &state)
    refuses(.indexOutOfRange, .setVringEnable(index: index, enabled: true), in: &state)
  }

  @Test(
    "Ring sizes are powers of two that the device takes", arguments: [0, 3, 65, 512, 65536, 0xffff_ffff] as [UInt32])
  func ringSizes(size: UInt32) throws {
    var state = state()
    #expect(throws: VhostUserError.self) {
      _ = try state.apply(.setVringNum(VringStatePayload(index: 0, number: size)))
    }
    #expect(state.vrings[0].size == nil)
  }

  @Test("Misaligned parts of a ring are refused")
  func alignment() throws {
    var state = state()
    for (descriptor, available, used) in [(8, 0, 0), (0, 1, 0), (0, 0, 2)] as [(UInt64, UInt64, UInt64)] {
      refuses(
        .malformed,
        .setVringAddress(
          VringAddressPayload(index: 0, descriptor: descriptor, used: used, available: available)), in: &state)
    }
  }

  @Test("Kick, call and error descriptors have to be eventfds")
  func descriptorKinds() throws {
    var state = state()
    try share(&state)
    try start(0, in: &state)
    let file = OwnedFD(adopting: try FileDescriptor.open(FilePath("/dev/null"), .readWrite))
    refuses(.wrongDescriptor, .setVringKick(index: 0, descriptor: file), in: &state)
    refuses(.wrongDescriptor, .setVringCall(index: 0, descriptor: file), in: &state)
    refuses(.wrongDescriptor, .setVringError(index: 1, descriptor: file), in: &state)
    #expect(state.vrings[0].kick?.isEventFD == true)
  }

  @Test("Guest memory cannot be taken from under a started ring, and other memory can change")
  func memoryUnderARing() throws {
    var state = state()
    try share(&state)
    try start(0, in: &state)
    refuses(.badMemory, .setMemoryTable(MemoryTablePayload(regions: []), descriptors: []), in: &state)
    #expect(state.memory.regions.count == 1)
    let (_, file) = try memory()
    let more = MemoryRegionPayload(guestAddress: 1 << 32, size: 1 << 20, userAddress: 0x9000_0000, mapOffset: 0)
    guard case .changeMemory(let grown, _) = try state.apply(.addMemoryRegion(more, descriptor: file)) else { return }
    state.take(grown)
    #expect(state.memory.regions.count == 2)
    // Once for every queue pair, as QEMU 7.2 says it: counted, not refused.
    guard case .changeMemory(let again, _) = try state.apply(.addMemoryRegion(more, descriptor: file)) else { return }
    state.take(again)
    #expect(state.memory.regions.count == 2)
    for expected in [2, 1] {
      guard case .changeMemory(let smaller, _) = try state.apply(.removeMemoryRegion(more)) else { return }
      state.take(smaller)
      #expect(state.memory.regions.count == expected)
    }
    refuses(.badMemory, .removeMemoryRegion(more), in: &state)
    // The same numbers with other memory behind them are not the same region.
    guard case .changeMemory(let back, _) = try state.apply(.addMemoryRegion(more, descriptor: file)) else { return }
    state.take(back)
    refuses(.badMemory, .addMemoryRegion(more, descriptor: try memory().file), in: &state)
  }

  @Test("The status is kept as set; FEATURES_OK shows only once features are accepted, and zero stops no ring")
  func status() throws {
    var state = state()
    _ = try state.apply(.setStatus([.acknowledge, .driver, .featuresOK]))
    guard case .value(3) = try state.apply(.getStatus) else {
      Issue.record("FEATURES_OK without features")
      return
    }
    _ = try state.apply(.setFeatures([.version1, .protocolFeatures]))
    guard case .value(11) = try state.apply(.getStatus) else {
      Issue.record("no FEATURES_OK")
      return
    }
    try share(&state)
    try start(0, in: &state)
    _ = try state.apply(.setStatus([]))
    #expect(state.vrings[0].isStarted)
  }
}
