import CLinux
import Glibc
import MemoryTestSupport
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// The dirty log, message by message (vhost-user, Migration).
struct SessionLogTests {
  private static let offer = SessionOffer(
    type: .net, features: [.version1, .netMergeableBuffers],
    protocolFeatures: [.multiqueue, .replyAck, .memorySlots, .logSharedMemory], queues: 1, maxRingSize: 256)
  private static let plain: Features = [.version1, .protocolFeatures]
  private static let logged: Features = [.version1, .protocolFeatures, .logAll]
  /// Behind guest memory.
  private static let end: UInt64 = 0x11_0000

  /// 1 MiB that the front-end sees at 0x7000_0000 and the guest at 0x1_0000, and a ring in it that is started.
  private func state() throws -> SessionState {
    var state = SessionState(offer: SessionLogTests.offer)
    _ = try state.apply(.setProtocolFeatures([.replyAck, .logSharedMemory, .memorySlots]))
    _ = try state.apply(.setFeatures(SessionLogTests.plain))
    try add(0x1_0000, at: 0x7000_0000, to: &state)
    _ = try state.apply(.setVringNum(VringStatePayload(index: 0, number: 64)))
    _ = try state.apply(.setVringAddress(address()))
    _ = try state.apply(.setVringKick(index: 0, descriptor: try EventFD.make()))
    return state
  }

  private func add(_ guestAddress: UInt64, at userAddress: UInt64, to state: inout SessionState) throws {
    let descriptor = unsafe clinux_memfd("guest")
    let file = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    guard ftruncate(file.rawValue, 1 << 20) == 0 else { throw Errno(rawValue: errno) }
    let region = MemoryRegionPayload(
      guestAddress: guestAddress, size: 1 << 20, userAddress: userAddress, mapOffset: 0)
    guard case .changeMemory(let memory, _) = try state.apply(.addMemoryRegion(region, descriptor: file)) else {
      Issue.record("no memory")
      return
    }
    state.take(memory)
  }

  private func address(log: UInt64? = nil, used: UInt64 = 0x7000_2000) -> VringAddressPayload {
    VringAddressPayload(
      index: 0, descriptor: 0x7000_0000, used: used, available: 0x7000_1000, log: log ?? 0, logsUsedRing: log != nil)
  }

  private func base(_ test: TestLog, size: UInt64? = nil) throws -> FrontendMessage {
    let copy = try OwnedFD(adopting: test.file.duplicate())
    return .setLogBase(LogPayload(size: size ?? test.size, offset: test.offset), descriptor: copy)
  }

  private func refusal(_ message: FrontendMessage, in state: inout SessionState) -> VhostUserError? {
    let before = state.activeLog
    do throws(VhostUserError) {
      _ = try state.apply(message)
      return nil
    } catch {
      #expect(state.activeLog === before)
      return error
    }
  }

  @Test("LOG_ALL is offered where LOG_SHMFD is, and to no device")
  func offered() throws {
    #expect(SessionLogTests.offer.wireFeatures.contains(.logAll))
    var without = SessionLogTests.offer
    without.protocolFeatures.remove(.logSharedMemory)
    #expect(!without.wireFeatures.contains(.logAll))
    var state = try state()
    _ = try state.apply(.setFeatures(SessionLogTests.logged))
    #expect(state.accepted == SessionLogTests.logged && state.deviceFeatures == [.version1])
  }

  @Test("Under a ring LOG_ALL is all that can change of the features, and it does not enable what is disabled")
  func toggled() throws {
    var state = try state()
    for features in [SessionLogTests.logged, SessionLogTests.plain, SessionLogTests.logged] {
      guard case .featuresAccepted = try state.apply(.setFeatures(features)) else { throw Errno.invalidArgument }
      #expect(state.accepted == features && !state.vrings[0].isEnabled)
    }
    for features in [.version1, [.version1, .logAll], [.protocolFeatures], SessionLogTests.plain.union(.packedRing)]
      as [Features]
    {
      #expect(refusal(.setFeatures(features), in: &state) != nil)
      #expect(state.accepted == SessionLogTests.logged)
    }
  }

  @Test("Writes are noted while LOG_ALL is accepted and there is a log, in whichever order they come")
  func active() throws {
    let test = try TestLog(upTo: SessionLogTests.end)
    var state = try state()
    guard case .changeLog(answer: 0) = try state.apply(base(test)) else { throw Errno.invalidArgument }
    #expect(state.activeLog == nil)
    _ = try state.apply(.setFeatures(SessionLogTests.logged))
    let first = try #require(state.activeLog)
    guard case .changeLog(answer: 0) = try state.apply(base(test)) else { throw Errno.invalidArgument }
    let second = try #require(state.activeLog)
    #expect(second !== first)
    _ = try state.apply(.setFeatures(SessionLogTests.plain))
    #expect(state.activeLog == nil)
    _ = try state.apply(.setFeatures(SessionLogTests.logged))
    #expect(state.activeLog === second)
  }

  @Test("SET_LOG_FD is an eventfd, in front of the log or behind it, and hears of the log that there is")
  func signal() throws {
    let test = try TestLog(upTo: SessionLogTests.end)
    for isFirst in [true, false] {
      var state = try state()
      _ = try state.apply(.setFeatures(SessionLogTests.logged))
      if !isFirst { _ = try state.apply(base(test)) }
      let file = OwnedFD(adopting: try FileDescriptor.open(FilePath("/dev/null"), .readWrite))
      #expect(refusal(.setLogFD(descriptor: file), in: &state)?.code == .wrongDescriptor)
      let signal = try EventFD.make()
      guard case .changeLog(answer: nil) = try state.apply(.setLogFD(descriptor: signal)) else {
        throw Errno.invalidArgument
      }
      if isFirst { _ = try state.apply(base(test)) }
      state.activeLog?.mark(0x5000, length: 1)
      state.activeLog?.signal()
      #expect(EventFD.drain(signal) == 1 && test.take() == [5])
    }
  }

  @Test("A log that has no bit for a page of guest memory is refused with the figures, now and when memory grows")
  func tooSmallForMemory() throws {
    let test = try TestLog(upTo: SessionLogTests.end)
    var state = try state()
    let error = try #require(refusal(base(test, size: test.size - 1), in: &state))
    #expect(error.code == .badMemory)
    #expect(error.description.contains("bits for 264 pages") && error.description.contains("0x10000 (0x100000 bytes)"))
    _ = try state.apply(base(test))
    // Nobody writes to it, so memory may grow.
    try add(0x100_0000, at: 0x9000_0000, to: &state)
    #expect(refusal(.setFeatures(SessionLogTests.logged), in: &state)?.code == .badMemory)
    let larger = try TestLog(upTo: 0x110_0000)
    _ = try state.apply(base(larger))
    _ = try state.apply(.setFeatures(SessionLogTests.logged))
    #expect(throws: VhostUserError.self) { try add(0x200_0000, at: 0xa000_0000, to: &state) }
    #expect(state.memory.regions.count == 2)
    #expect(refusal(try base(test), in: &state)?.code == .badMemory)
  }

  @Test("Whether the used ring is noted, and where, is all that can change of a started ring's addresses")
  func usedRing() throws {
    let test = try TestLog(upTo: SessionLogTests.end)
    var state = try state()
    _ = try state.apply(base(test))
    _ = try state.apply(.setFeatures(SessionLogTests.logged))
    #expect(state.vrings[0].started?.logAddress == nil)
    // In no region, but in the log.
    for log in [0x1_2000, nil, 0x800, 0] as [UInt64?] {
      guard case .vringChanged(0) = try state.apply(.setVringAddress(address(log: log))) else {
        throw Errno.invalidArgument
      }
      #expect(state.vrings[0].started?.logAddress == log)
    }
    #expect(refusal(.setVringAddress(address(log: 0, used: 0x7000_3000)), in: &state)?.code == .outOfState)
    // The last place where 6 + 8 * 64 bytes fit, and behind it.
    let last = SessionLogTests.end - 518
    _ = try state.apply(.setVringAddress(address(log: last)))
    for log in [last + 1, SessionLogTests.end, .max, .max - 517] as [UInt64] {
      #expect(refusal(.setVringAddress(address(log: log)), in: &state)?.code == .badMemory)
      #expect(state.vrings[0].started?.logAddress == last && state.vrings[0].addresses?.log == last)
    }
    // Without a log it does not matter, until there is one again.
    _ = try state.apply(.setFeatures(SessionLogTests.plain))
    _ = try state.apply(.setVringAddress(address(log: .max)))
    #expect(refusal(.setFeatures(SessionLogTests.logged), in: &state)?.ring == 0)
    #expect(refusal(try base(test), in: &state)?.code == .badMemory)
  }

  @Test("A ring that is to be noted outside of the log does not start")
  func startedUnderALog() throws {
    let test = try TestLog(upTo: SessionLogTests.end)
    var state = try state()
    _ = try state.apply(base(test))
    _ = try state.apply(.setFeatures(SessionLogTests.logged))
    _ = try state.apply(.setVringNum(VringStatePayload(index: 1, number: 64)))
    let other = VringAddressPayload(
      index: 1, descriptor: 0x7000_4000, used: 0x7000_6000, available: 0x7000_5000, log: SessionLogTests.end,
      logsUsedRing: true)
    _ = try state.apply(.setVringAddress(other))
    #expect(refusal(.setVringKick(index: 1, descriptor: nil), in: &state)?.code == .badMemory)
    #expect(!state.vrings[1].isStarted)
  }

  @Test("A file that is no log is refused: too small, sealed, of another kind; its offset need not be aligned")
  func files() throws {
    var state = try state()
    let test = try TestLog(bytes: 64, offset: 4099)
    _ = try state.apply(base(test))
    #expect(refusal(try base(test, size: 68), in: &state)?.code == .badMemory)
    #expect(refusal(try base(test, size: UInt64(Int64.max) - 4099), in: &state)?.code == .badMemory)
    let sealed = unsafe FileDescriptor(rawValue: clinux_memfd("sealed"))
    // F_ADD_SEALS, F_SEAL_WRITE
    try #require(ftruncate(sealed.rawValue, 4096) == 0 && fcntl(sealed.rawValue, 1033, 8) == 0)
    let null = try FileDescriptor.open(FilePath("/dev/null"), .readWrite)
    for file in [sealed, null] {
      let message = FrontendMessage.setLogBase(
        LogPayload(size: 4096, offset: 0), descriptor: OwnedFD(adopting: file))
      #expect(refusal(message, in: &state)?.description.contains("4096 bytes at offset 0") == true)
    }
    #expect(state.log != nil)
    // The end is not a number (CVE-2020-10722).
    #expect(throws: VhostUserError.self) {
      try LogPayload(decoding: LogPayload(size: .max - 4095, offset: 8192).encoded)
    }
  }

  @Test("Behind an IOMMU the address of a used ring is the guest's, of which the log has no bit")
  func translated() throws {
    var offer = SessionLogTests.offer
    offer.features.insert(.accessPlatform)
    offer.protocolFeatures.insert(.backendRequests)
    var state = SessionState(offer: offer)
    _ = try state.apply(.setProtocolFeatures([.replyAck, .logSharedMemory, .memorySlots, .backendRequests]))
    let features = SessionLogTests.plain.union(.accessPlatform)
    _ = try state.apply(.setFeatures(features))
    try add(0x1_0000, at: 0x7000_0000, to: &state)
    _ = try state.apply(base(TestLog(upTo: SessionLogTests.end)))
    _ = try state.apply(.setVringNum(VringStatePayload(index: 0, number: 64)))
    _ = try state.apply(.setVringAddress(address()))
    _ = try state.apply(.setVringKick(index: 0, descriptor: try EventFD.make()))
    _ = try state.apply(.setFeatures(features.union(.logAll)))
    _ = try state.apply(.setVringAddress(address(log: 0x7000_2000)))
    #expect(state.activeLog != nil && state.vrings[0].notedArea?.address == 0x7000_2000)
  }
}
