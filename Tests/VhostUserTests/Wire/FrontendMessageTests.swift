import Testing
import VDPA
import VhostUser
import Virtio

struct FrontendMessageTests {
  /// A legal payload and descriptor count for each request that is served.
  static let samples: [(request: FrontendRequest, payload: [UInt8], descriptors: Int)] = {
    let region = MemoryRegionPayload(guestAddress: 0, size: 0x1000, userAddress: 0x7000, mapOffset: 0)
    let state = VringStatePayload(index: 1, number: 1).encoded
    let file = VringFilePayload(index: 1, hasDescriptor: true).encoded
    let inflight = InflightPayload(size: 0x1000, queues: 1, queueSize: 128).encoded
    let single = SingleRegionPayload(region: region).encoded
    return [
      (.getFeatures, [], 0), (.setFeatures, u64(1 << 32), 0), (.setOwner, [], 0), (.resetOwner, [], 0),
      (.setMemoryTable, MemoryTablePayload(regions: [region, region]).encoded, 2), (.setVringNum, state, 0),
      (
        .setVringAddress, VringAddressPayload(index: 1, descriptor: 16, used: 64, available: 32).encoded, 0
      ), (.setVringBase, state, 0), (.getVringBase, state, 0), (.setVringKick, file, 1), (.setVringCall, file, 1),
      (.setVringError, file, 1), (.getProtocolFeatures, [], 0), (.setProtocolFeatures, u64(9), 0),
      (.getQueueNum, [], 0), (.setVringEnable, state, 0), (.netSetMTU, u64(1500), 0),
      (.getConfiguration, ConfigurationPayload(offset: 0, bytes: [0, 0]).encoded, 0), (.getMaximumMemorySlots, [], 0),
      (.addMemoryRegion, single, 1), (.removeMemoryRegion, single, 0), (.setStatus, u64(15), 0), (.getStatus, [], 0),
      (.setLogBase, LogPayload(size: 0x1000, offset: 0).encoded, 1), (.setLogFD, [], 1),
      (.sendRARP, [0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0], 0), (.setBackendRequestFD, [], 1),
      (.iotlbMessage, IOTLBPayload(.update, address: 0, size: 0x1000, access: .read).encoded, 0),
      (.setVringEndian, state, 0), (.setConfiguration, ConfigurationPayload(offset: 32, bytes: [1]).encoded, 0),
      (.postcopyAdvise, [], 0), (.postcopyListen, [], 0), (.postcopyEnd, [], 0),
      (.getInflightFD, inflight, 0), (.setInflightFD, inflight, 1), (.resetDevice, [], 0),
      (.vringKick, VringStatePayload(index: 1).encoded, 0),
      (.getSharedObject, SharedObjectPayload(bytes: [UInt8](repeating: 7, count: 16)).encoded, 0),
      (.setDeviceStateFD, DeviceStatePayload(.load).encoded, 1), (.checkDeviceState, [], 0),
      (.getVringBaseSkipDrain, state, 0),
    ]
  }()

  private let descriptor: OwnedFD

  init() throws { descriptor = try EventFD.make() }

  private func decode(
    _ request: FrontendRequest, _ payload: [UInt8], descriptors: Int = 0
  ) throws -> FrontendMessage {
    var message = raw(request, payload)
    message.descriptors = [OwnedFD](repeating: descriptor, count: descriptors)
    return try FrontendMessage.decode(message)
  }

  @Test func samplesAreComplete() {
    #expect(Set(FrontendMessageTests.samples.map(\.request)) == Set(RequestRule.table.keys))
  }

  @Test func everyRequestRefusesOtherSizes() throws {
    for (request, payload, descriptors) in FrontendMessageTests.samples {
      _ = try decode(request, payload, descriptors: descriptors)
      for length in 0...(payload.count + 9) where length != payload.count {
        let other = Array((payload + [UInt8](repeating: 0, count: 9)).prefix(length))
        let error = #expect(throws: VhostUserError.self, "\(request), \(length) bytes") {
          try decode(request, other, descriptors: descriptors)
        }
        #expect(error?.code == .malformed && error?.request == request.description)
      }
    }
  }

  @Test func everyRequestRefusesOtherDescriptorCounts() throws {
    for (request, payload, descriptors) in FrontendMessageTests.samples {
      let tolerated = request == .removeMemoryRegion ? 1 : descriptors
      for count in 0...8 where count != descriptors && count != tolerated {
        let error = #expect(throws: VhostUserError.self, "\(request), \(count) descriptors") {
          try decode(request, payload, descriptors: count)
        }
        #expect(error?.code == (count < descriptors ? .missingDescriptor : .tooManyDescriptors))
        #expect(error?.request == request.description)
      }
    }
    _ = try decode(.removeMemoryRegion, try #require(RequestRule.table[.removeMemoryRegion]).sample, descriptors: 1)
  }

  @Test func values() throws {
    guard case .setFeatures(.version1) = try decode(.setFeatures, u64(1 << 32)) else {
      Issue.record("SET_FEATURES")
      return
    }
    guard case .getVringBase(0x10000) = try decode(.getVringBase, u32(0x10000, 7)) else {
      Issue.record("an index keeps its 32 bits")
      return
    }
    guard case .setVringKick(7, nil) = try decode(.setVringKick, u64(0x107)) else {
      Issue.record("SET_VRING_KICK without a descriptor")
      return
    }
    guard case .setVringCall(7, let call?) = try decode(.setVringCall, u64(7), descriptors: 1), call === descriptor
    else {
      Issue.record("SET_VRING_CALL with a descriptor")
      return
    }
    guard case .setVringEnable(3, false) = try decode(.setVringEnable, u32(3, 0)) else {
      Issue.record("SET_VRING_ENABLE")
      return
    }
    guard case .setStatus([.acknowledge, .driver]) = try decode(.setStatus, u64(3)) else {
      Issue.record("SET_STATUS")
      return
    }
  }

  @Test(
    arguments: [
      (.setVringEnable, u32(0, 2)), (.setVringEnable, u32(0, .max)), (.setStatus, u64(0x100)), (.netSetMTU, u64(67)),
      (.netSetMTU, u64(65536)), (.setVringKick, u64(0x307)),
      (.setVringAddress, u32(0, 2) + [UInt8](repeating: 0, count: 32)), (.vringKick, u32(0, 1)),
      (.setVringEndian, u32(0, 2)),
      (.iotlbMessage, IOTLBPayload(.update, address: .max, size: 2, access: .read).encoded),
      (.iotlbMessage, IOTLBPayload(.update, address: 0, size: 0, access: .read).encoded),
      (.getInflightFD, InflightPayload(size: 1, offset: .max, queues: 1, queueSize: 1).encoded),
    ] as [(FrontendRequest, [UInt8])])
  func badValues(request: FrontendRequest, payload: [UInt8]) {
    let error = #expect(throws: VhostUserError.self) { try decode(request, payload) }
    #expect(error?.code == .malformed && error?.request == request.description)
  }

  /// Whatever the bytes: a value or an error, never a trap. Headers and sizes are mostly plausible, so that the checks
  /// behind the first ones are reached too.
  @Test func randomBytes() throws {
    var random = SeededGenerator(seed: 0x7664_7061)
    var accepted: [UInt32: Int] = [:]
    for _ in 0..<100_000 {
      let sample = FrontendMessageTests.samples.randomElement(using: &random)
      var payload = sample?.payload ?? []
      switch Int.random(in: 0..<4, using: &random) {
      case 0: payload = (0..<Int.random(in: 0...300, using: &random)).map { _ in .random(in: 0...255, using: &random) }
      case 1: payload = payload.map { _ in .random(in: 0...255, using: &random) }
      default:
        for _ in 0..<Int.random(in: 0...3, using: &random) where !payload.isEmpty {
          payload[Int.random(in: 0..<payload.count, using: &random)] = .random(in: 0...255, using: &random)
        }
      }
      var number = sample?.request.rawValue ?? 0
      if Int.random(in: 0..<8, using: &random) == 0 { number = .random(in: 0...50, using: &random) }
      let count = Bool.random(using: &random) ? sample?.descriptors ?? 0 : Int.random(in: 0...8, using: &random)
      let message = RawMessage(
        header: MessageHeader(request: number, size: payload.count), payload: payload,
        descriptors: [OwnedFD](repeating: descriptor, count: count))
      if (try? FrontendMessage.decode(message)) != nil { accepted[number, default: 0] += 1 }
    }
    #expect(Set(accepted.keys) == Set(RequestRule.table.keys.map(\.rawValue)), "every request was accepted sometimes")
  }
}

extension RequestRule {
  fileprivate var sample: [UInt8] {
    FrontendMessageTests.samples.first { $0.request == request }?.payload ?? []
  }
}
