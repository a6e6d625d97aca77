import Synchronization
import Testing
import VDPA
import VhostUser
import Virtio

/// The front-end's end of the protocol, against sockets of ours and against a script.
struct FrontendTests {
  private static let packed: Features = [.netMergeableBuffers, .packedRing, .eventIndex, .indirectDescriptors]

  private func negotiated(
    _ socket: LoopbackSocket, _ wanted: Features = [.netMergeableBuffers],
    _ protocolFeatures: ProtocolFeatures = Frontend.usableProtocolFeatures
  ) throws -> Frontend {
    let frontend = Frontend(try FrontendConnection(path: socket.path))
    try frontend.negotiate(wanted, protocolFeatures: protocolFeatures)
    return frontend
  }

  @Test("What both sides have is agreed upon, and nothing else", arguments: LoopbackSocket.Server.allCases)
  func negotiation(server: LoopbackSocket.Server) throws {
    let socket = try LoopbackSocket(server, queues: 2)
    let frontend = try negotiated(socket, Self.packed.union(.orderPlatform))
    #expect(frontend.features == Self.packed.union(.version1))
    #expect(frontend.protocolFeatures.isSuperset(of: [.multiqueue, .replyAck, .memorySlots, .status]))
    #expect(frontend.queueCount == 2 && frontend.maximumRegions == GuestMemory.maxRegions)
    #expect(frontend.offeredFeatures.contains(.protocolFeatures))
    #expect(try !frontend.status().contains(.driverOK))

    frontend.connection.close()
    let other = Frontend(try FrontendConnection(path: socket.path))
    let error = try #require(throws: VhostUserError.self) {
      try other.negotiate(required: [.version1, .orderPlatform])
    }
    #expect(error.code == .notNegotiated && error.description.contains("does not offer feature bits [36]"), "\(error)")
  }

  @Test("A front-end without protocol features, or without some of them, is served as well")
  func few() throws {
    let socket = try LoopbackSocket()
    for protocolFeatures: ProtocolFeatures in [[], [.replyAck], [.memorySlots], [.status]] {
      let frontend = try negotiated(socket, [.netMergeableBuffers], protocolFeatures)
      #expect(frontend.protocolFeatures == protocolFeatures && frontend.queueCount == 1)
      #expect(frontend.maximumRegions == (protocolFeatures.contains(.memorySlots) ? GuestMemory.maxRegions : 8))
      let guest = try FrontendGuest(
        features: frontend.features, vringCount: 2, bufferBytes: NumberedTraffic.bufferBytes(ringSize: 256, pairs: 1),
        regionCount: 3)
      let traffic = try NumberedTraffic(guest)
      try guest.start(over: frontend)
      #expect(try traffic.run(300))
      #expect(traffic.reports[0].isClean && traffic.reports[0].received == 300)
      try guest.stop()
      frontend.connection.close()
    }
  }

  @Test("Memory is shared and taken back, region by region or by table, as much as the back-end takes")
  func memory() throws {
    for (protocolFeatures, limit) in [(Frontend.usableProtocolFeatures, 509), ([.replyAck], 8)] {
      let socket = try LoopbackSocket()
      let frontend = try negotiated(socket, [], protocolFeatures)
      let memory = try DriverMemory(regionSizes: Array(repeating: 4096, count: limit))
      try frontend.share(memory.regions)
      let error = try #require(throws: VhostUserError.self) { try frontend.share([memory.regions[0]]) }
      #expect(error.code == .badMemory && error.description.contains("takes \(limit)"), "\(error)")
      try frontend.unshare(memory.regions[0].region)
      // It is not shared: nothing to do.
      try frontend.unshare(memory.regions[0].region)
      #expect(frontend.regions.count == limit - 1)
      try frontend.share([memory.regions[0]])
      frontend.connection.close()
    }
  }

  @Test("A vring outside of what is shared is refused here, with a reason")
  func outside() throws {
    let socket = try LoopbackSocket()
    let frontend = try negotiated(socket)
    let memory = try DriverMemory(regionSizes: [1 << 20])
    let vring = try DriverVring(index: 1, size: 256, in: memory, features: frontend.features)
    let error = try #require(throws: VhostUserError.self) { try frontend.start(vring.description) }
    #expect(error.code == .badMemory && error.ring == 1, "\(error)")
  }

  @Test("What the back-end refuses is an error that names the request, and the connection goes on")
  func refused() throws {
    let socket = try LoopbackSocket()
    let frontend = try negotiated(socket)
    let error = try #require(throws: VhostUserError.self) { try frontend.setEnabled(true, vring: 7) }
    #expect(error.code == .refused && error.request == "SET_VRING_ENABLE (18)", "\(error)")
    try frontend.setEnabled(true, vring: 1)
    try frontend.synchronize()
  }

  @Test("The configuration space is read in any pieces", arguments: [(0, 12), (6, 2), (0, 256), (255, 1)])
  func configuration(offset: Int, count: Int) throws {
    let socket = try LoopbackSocket()
    let frontend = try negotiated(socket)
    guard frontend.protocolFeatures.contains(.configuration) else {
      let error = try #require(throws: VhostUserError.self) { try frontend.readConfiguration(at: offset, count: count) }
      #expect(error.code == .notNegotiated && error.description.contains("CONFIG (9)"))
      return
    }
    let whole = try frontend.readConfiguration(count: 256)
    #expect(try frontend.readConfiguration(at: offset, count: count) == Array(whole[offset..<offset + count]))
  }

  @Test(
    "No piece is asked for that is not in a configuration space", arguments: [(0, 257), (256, 1), (-1, 4), (300, 0)])
  func noConfiguration(offset: Int, count: Int) throws {
    let backend = try ScriptedBackend { request, _ in
      switch request {
      case .getFeatures: Features([.version1, .protocolFeatures]).rawValue
      case .getProtocolFeatures: ProtocolFeatures.configuration.rawValue
      default: nil
      }
    }
    let frontend = Frontend(try backend.connect())
    try frontend.negotiate()
    let error = try #require(throws: VhostUserError.self) { try frontend.readConfiguration(at: offset, count: count) }
    #expect(error.code == .malformed)
    #expect(throws: VhostUserError.self) {
      try frontend.writeConfiguration(Array(repeating: 0, count: count), at: offset)
    }
  }

  @Test("Numbers that no back-end may answer are its fault", arguments: [0, 257, UInt64.max])
  func numbers(value: UInt64) throws {
    let backend = try ScriptedBackend { request, _ in
      switch request {
      case .getFeatures: Features([.version1, .protocolFeatures]).rawValue
      case .getProtocolFeatures: ProtocolFeatures.multiqueue.rawValue
      case .getQueueNum: value
      default: nil
      }
    }
    let frontend = Frontend(try backend.connect())
    let error = try #require(throws: VhostUserError.self) { try frontend.negotiate() }
    #expect(error.code == .backendFault && error.request == "GET_QUEUE_NUM (17)", "\(error)")
  }

  @Test("A device that does not agree to the features is refused (FEATURES_OK)")
  func featuresOK() throws {
    let backend = try ScriptedBackend { request, _ in
      switch request {
      case .getFeatures: Features([.version1, .protocolFeatures]).rawValue
      case .getProtocolFeatures: ProtocolFeatures.status.rawValue
      case .getStatus: 3
      default: nil
      }
    }
    let frontend = Frontend(try backend.connect())
    try frontend.negotiate()
    let error = try #require(throws: VhostUserError.self) { try frontend.setStatus([.driver, .featuresOK]) }
    #expect(error.code == .refused && error.description.contains("[32]"), "\(error)")
    try frontend.setStatus([])
  }

  @Test("Reset is RESET_DEVICE where there is one, else status 0, else an error")
  func reset() throws {
    for (has, wanted) in [
      (ProtocolFeatures([.resetDevice, .status]), FrontendRequest.resetDevice), (.status, .setStatus),
    ] {
      let backend = try ScriptedBackend { request, _ in
        switch request {
        case .getFeatures: Features([.version1, .protocolFeatures]).rawValue
        case .getProtocolFeatures: has.rawValue
        default: nil
        }
      }
      let frontend = Frontend(try backend.connect())
      try frontend.negotiate()
      try frontend.reset()
      try frontend.synchronize()
      #expect(backend.requests.contains(wanted))
    }
    let none = try ScriptedBackend { request, _ in request == .getFeatures ? Features.version1.rawValue : nil }
    let frontend = Frontend(try none.connect())
    try frontend.negotiate()
    let error = try #require(throws: VhostUserError.self) { try frontend.reset() }
    #expect(error.code == .notNegotiated)
  }

  @Test("A position that the ring does not have, or of another ring, is the back-end's fault")
  func positions() throws {
    for (format, index, number, isLegal) in [
      (RingLayout.Format.split, 0, 0xffff, true), (.split, 0, 0x1_0000, false), (.split, 1, 0, false),
      (.packed, 0, 0x80ff_80ff, true), (.packed, 0, 0x8100, false), (.packed, 0, 0x0100_0000, false),
      (.packed, 0, 0x8000_0003, true),
    ] as [(RingLayout.Format, UInt32, UInt32, Bool)] {
      let backend = try ScriptedBackend(
        { request, _ in
          request == .getFeatures ? Features([.version1]).union(format == .packed ? .packedRing : []).rawValue : nil
        }, position: VringStatePayload(index: index, number: number))
      let frontend = Frontend(try backend.connect())
      try frontend.negotiate(.packedRing)
      let memory = try DriverMemory(regionSizes: [1 << 20])
      try frontend.share(memory.regions)
      try frontend.start(DriverVring(index: 0, size: 256, in: memory, features: frontend.features).description)
      if isLegal {
        let state = try frontend.stop(vring: 0)
        #expect(state.nextAvail == UInt16(truncatingIfNeeded: number))
        #expect(state.nextUsed == (format == .split ? state.nextAvail : UInt16(number >> 16)))
      } else {
        let error = try #require(throws: VhostUserError.self) { try frontend.stop(vring: 0) }
        #expect(error.code == .backendFault && error.ring == 0, "\(error)")
      }
    }
  }

  // MARK: What is in flight

  /// A back-end that keeps a record, or not.
  private func recorder(_ features: ProtocolFeatures, size: UInt64 = 4096, files: [OwnedFD]) throws -> ScriptedBackend {
    try ScriptedBackend(
      { request, _ in
        switch request {
        case .getFeatures: Features([.version1, .protocolFeatures]).rawValue
        case .getProtocolFeatures: features.rawValue
        default: nil
        }
      }, inflight: (InflightPayload(size: size, queues: 1, queueSize: 8), files))
  }

  @Test("A record of what is in flight goes from one back-end to the next, and the rings stay as they are")
  func inflight() throws {
    for features: ProtocolFeatures in [.inflightSharedMemory, []] {
      let file = try DriverMemory(regionSizes: [4096]).regions[0].file
      let guest = try FrontendGuest(features: .version1, vringCount: 1, ringSize: 8, bufferBytes: 4096)
      let vring = guest.vrings[0]
      for i in 0..<3 as Range<UInt64> { _ = vring.add(writable: [(DriverMemory.guestBase + 64 * i, 64)]) }
      vring.publish()
      // The second one is returned before the first.
      guest.memory.write([1, 0, 0, 0, 0, 0, 0, 0], at: vring.used + 4)
      guest.memory.write([1, 0], at: vring.used + 2)
      let before = guest.memory.read(vring.avail + 4, count: 16)

      let backends = try (0..<2).map { _ in try recorder(features, files: [file]) }
      for backend in backends {
        let frontend = Frontend(try backend.connect())
        try frontend.negotiate()
        try guest.start(over: frontend)
        // Whoever has no record finds those that were not returned, from here on.
        let after = guest.memory.read(vring.avail + 4, count: 16)
        #expect(after == (features.isEmpty ? [0, 0, 0, 0, 2, 0] + before[6...] : before))
        #expect(vring.description.state.nextAvail == 1)
      }
      #expect(try vring.collect()?.id == 1)
      #expect(backends[0].requests.contains(.getInflightFD) == !features.isEmpty)
      #expect(!backends[1].requests.contains(.getInflightFD))
      for backend in backends {
        #expect(backend.files(with: .setInflightFD) == (features.isEmpty ? [] : [file.kernelName]))
      }
    }
  }

  @Test("A record without a file, with two, or without a byte is the back-end's fault")
  func noRecord() throws {
    let file = try DriverMemory(regionSizes: [4096]).regions[0].file
    for (size, count) in [(4096, 0), (4096, 2), (0, 1), (UInt64.max, 1)] as [(UInt64, Int)] {
      let backend = try recorder(.inflightSharedMemory, size: size, files: Array(repeating: file, count: count))
      let frontend = Frontend(try backend.connect())
      try frontend.negotiate()
      let error = try #require(throws: VhostUserError.self) { try frontend.makeInflight(vringCount: 1, ringSize: 8) }
      #expect(error.code == .backendFault && error.request == "GET_INFLIGHT_FD (31)", "\(error)")
    }
    let backend = try recorder([], files: [])
    let frontend = Frontend(try backend.connect())
    try frontend.negotiate()
    let error = try #require(throws: VhostUserError.self) { try frontend.makeInflight(vringCount: 1, ringSize: 8) }
    #expect(error.code == .notNegotiated)
  }
}
