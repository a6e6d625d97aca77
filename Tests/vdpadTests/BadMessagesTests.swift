import FrontEndTestSupport
import Glibc
import Peers
import SystemPackage
import Testing
import VDPA
import VhostUser
import Virtio

/// Messages that no correct front-end sends, to a real daemon: refused in words, with an answer where one is waited for,
/// else by the end of the connection; nothing is left behind and the next front-end is served.
@Suite(.serialized)
struct BadMessagesTests {
  /// How far the session is when the message comes.
  enum Stage: Sendable {
    /// Features are settled, nothing else.
    case negotiated
    /// Packets flow.
    case running
  }

  struct Message: Sendable {
    var request: UInt32
    var payload: [UInt8]
    var attached: [Attached] = []
    var stage = Stage.negotiated
    /// What the daemon's log has to say.
    var log: String
    /// What comes before it and is legal.
    var before: [(FrontendRequest, [UInt8])] = []

    init(
      _ request: FrontendRequest, _ payload: [UInt8], _ attached: [Attached] = [], _ stage: Stage = .negotiated,
      log: String, before: [(FrontendRequest, [UInt8])] = []
    ) {
      self.request = request.rawValue
      (self.payload, self.attached, self.stage, self.log, self.before) = (payload, attached, stage, log, before)
    }

    var name: String { "\(FrontendRequest.name(of: request)), \(log)" }
  }

  /// Sends each message, with and without a wish for an answer, and looks at what becomes of it.
  static func check(_ messages: [Message], on daemon: Daemon) throws {
    let idle = try daemon.settledHoldings()
    try behaveWell(at: daemon.path)
    for message in messages {
      for wantsAnswer in [true, false] {
        let guest = try Guest()
        let frontEnd = try RawFrontEnd(path: daemon.path)
        switch message.stage {
        case .negotiated: try frontEnd.negotiate()
        case .running: try guest.run(with: frontEnd)
        }
        for (request, payload) in message.before { frontEnd.send(request, payload) }
        let mark = daemon.process.mark
        let attached = try message.attached.map { try $0.open(guest) }
        let header = MessageHeader(
          request: message.request, flags: wantsAnswer ? .needReply : [], size: message.payload.count)
        frontEnd.send(bytes: header.encoded + message.payload, descriptors: attached.map(\.rawValue))

        let answer = FrontendRequest(rawValue: message.request).flatMap { RequestRule.table[$0]?.answer }
        switch answer ?? .acknowledgement {
        case .acknowledgement where wantsAnswer, .result:
          let answer = try #require(try frontEnd.answer(), "\(message.name): closed instead of answered")
          #expect(
            answer == RawFrontEnd.Answer(request: message.request, flags: 5, payload: bytes(1)), "\(message.name)")
          try goesOn(frontEnd, message, guest)
        case .configuration:
          let answer = try #require(try frontEnd.answer(), "\(message.name): closed instead of answered")
          #expect(answer == RawFrontEnd.Answer(request: message.request, flags: 5, payload: []), "\(message.name)")
          try goesOn(frontEnd, message, guest)
        default:
          #expect(try frontEnd.isClosed(), "\(message.name)")
        }
        try daemon.process.waitForText(message.log, since: mark)
        frontEnd.hangUp()
        #expect(daemon.settled(to: idle) == idle, "\(message.name)")
      }
      try behaveWell(at: daemon.path)
    }
    #expect(daemon.process.exitStatus == nil)
    #expect(daemon.settled(to: idle) == idle)
    #expect(try daemon.end() == .exited(0))
  }

  private static func goesOn(_ frontEnd: RawFrontEnd, _ message: Message, _ guest: Guest) throws {
    _ = try frontEnd.ask(.getFeatures)
    guard message.stage == .running else { return }
    #expect(try guest.exchange([1, 2, 3]) == [1, 2, 3], "\(message.name)")
  }

  // MARK: Every request

  @Test("Each request too short, too long and with too many descriptors")
  func sizes() async throws {
    try await blocking {
      var messages: [Message] = []
      for (request, rule) in RequestRule.table.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
        let (least, most) =
          switch rule.payload {
          case .exactly(let size): (size, size)
          case .between(let sizes): (sizes.lowerBound, sizes.upperBound)
          }
        let few = Array(repeating: Attached.eventFD, count: rule.descriptors.lowerBound)
        let many = Array(repeating: Attached.eventFD, count: min(rule.descriptors.upperBound + 1, 8))
        // Some are refused before their size is looked at: they are not negotiated here.
        let log = rule.request.description
        if least > 0 { messages.append(Message(request, Array(repeating: 0, count: least - 1), few, log: log)) }
        messages.append(Message(request, Array(repeating: 0, count: most + 1), few, log: log))
        messages.append(Message(request, Array(repeating: 0, count: least), many, log: log))
      }
      try Self.check(messages, on: Daemon())
    }
  }

  @Test("Requests that nobody knows and those that are not served")
  func unknown() async throws {
    try await blocking {
      var messages = FrontendRequest.allCases.filter { RequestRule.table[$0] == nil }.map {
        Message($0, [], [.eventFD], log: "\($0): \(RequestRule.refused[$0] ?? "")")
      }
      for number: UInt32 in [0, 46, 77, 1 << 16, .max] {
        var message = Message(.getFeatures, bytes(0), log: "request \(number): the specification knows none such")
        message.request = number
        messages.append(message)
      }
      try Self.check(messages, on: Daemon())
    }
  }

  @Test("Each request that breaks off in the middle, by bytes and by the front-end's end")
  func truncated() async throws {
    try await blocking {
      let daemon = try Daemon()
      let idle = try daemon.settledHoldings()
      try behaveWell(at: daemon.path)
      for (request, rule) in RequestRule.table {
        let size =
          switch rule.payload {
          case .exactly(let size): size
          case .between(let sizes): sizes.upperBound
          }
        let whole = MessageHeader(request: request.rawValue, size: size).encoded + Array(repeating: 0, count: size)
        for count in Set([1, 11, 12, 13, whole.count - 1]) where count < whole.count {
          let frontEnd = try RawFrontEnd(path: daemon.path)
          let attached = try (0..<8).map { _ in try EventFD.make() }
          frontEnd.send(bytes: Array(whole.prefix(count)), descriptors: attached.map(\.rawValue))
          frontEnd.hangUp()
          // Is served after it, so that it has been taken note of.
          try behaveWell(at: daemon.path)
          #expect(daemon.settled(to: idle) == idle, "\(request), \(count) bytes")
        }
      }
      try behaveWell(at: daemon.path)
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("Headers that cannot be believed end the connection, answers asked for or not")
  func headers() async throws {
    try await blocking {
      func header(_ request: UInt32, _ flags: UInt32, _ size: UInt32) -> [UInt8] {
        var writer = WireWriter()
        for word in [request, flags, size] { writer.append(word) }
        return writer.bytes
      }
      let daemon = try Daemon()
      let idle = try daemon.settledHoldings()
      try behaveWell(at: daemon.path)
      for (bytes, log) in [
        (header(1, 0, 0), "protocol version 0"), (header(1, 2, 0), "protocol version 2"),
        (header(1, 3, 0), "protocol version 3"), (header(1, 5, 0), "a reply where a request is due"),
        (header(1, 0x11, 0), "reserved header flags"), (header(1, 0xffff_fff9, 0), "reserved header flags"),
        (header(5, 9, 4097), "a payload of 4097 bytes"), (header(5, 9, .max), "a payload of 4294967295 bytes"),
      ] {
        let mark = daemon.process.mark
        let frontEnd = try RawFrontEnd(path: daemon.path)
        try frontEnd.negotiate()
        let attached = try EventFD.make()
        frontEnd.send(bytes: bytes, descriptors: [attached.rawValue])
        #expect(try frontEnd.isClosed(), "\(log)")
        try daemon.process.waitForText(log, since: mark)
        frontEnd.hangUp()
        #expect(daemon.settled(to: idle) == idle, "\(log)")
      }
      // More descriptors than any message may have.
      for count in [9, 20] {
        let mark = daemon.process.mark
        let frontEnd = try RawFrontEnd(path: daemon.path)
        let attached = try (0..<count).map { _ in try EventFD.make() }
        frontEnd.send(
          bytes: MessageHeader(request: 5, flags: .needReply, size: 8).encoded + Array(repeating: 0, count: 8),
          descriptors: attached.map(\.rawValue))
        #expect(try frontEnd.isClosed())
        try daemon.process.waitForText("more than 8 descriptors", since: mark)
        #expect(daemon.settled(to: idle) == idle, "\(count) descriptors")
      }
      try behaveWell(at: daemon.path)
      #expect(try daemon.end() == .exited(0))
    }
  }

  // MARK: Values and states

  static func state(_ index: UInt32, _ number: UInt32 = 0) -> [UInt8] {
    VringStatePayload(index: index, number: number).encoded
  }

  private static func file(_ index: UInt32, _ hasDescriptor: Bool = true) -> [UInt8] {
    VringFilePayload(index: index, hasDescriptor: hasDescriptor).encoded
  }

  static func address(_ index: UInt32, descriptor: UInt64 = 0, avail: UInt64 = 0, used: UInt64 = 0) -> [UInt8] {
    VringAddressPayload(index: index, descriptor: descriptor, used: used, available: avail).encoded
  }

  @Test("Rings: indices, sizes, positions, addresses and descriptors that are wrong, and messages at the wrong time")
  func rings() async throws {
    try await blocking {
      let outside = "the device has 2 vrings"
      var messages: [Message] = []
      // Two are rings of the device in 16 bits.
      for index: UInt32 in [2, 255, 256, 0x1_0000, 0x1_0001, .max] {
        messages += [
          Message(.setVringNum, Self.state(index, 64), log: outside),
          Message(.setVringBase, Self.state(index), log: outside),
          Message(.getVringBase, Self.state(index), log: outside),
          Message(.setVringEnable, Self.state(index, 1), log: outside),
          Message(.setVringAddress, Self.address(index), log: outside),
        ]
      }
      for request: FrontendRequest in [.setVringKick, .setVringCall, .setVringError] {
        messages += [
          Message(request, Self.file(2), [.eventFD], log: outside),
          Message(request, Self.file(255, false), log: outside),
          Message(request, bytes(0x200), log: "reserved bits are set"),
          Message(request, Self.file(0), log: "no descriptor came along"),
          Message(request, Self.file(0, false), [.eventFD], log: "a message that says it has none"),
          Message(request, Self.file(0), [.pipe], log: "is not an eventfd"),
          Message(request, Self.file(0), [.socket], log: "is not an eventfd"),
          Message(request, Self.file(0), [.guestMemory], log: "is not an eventfd"),
          Message(request, Self.file(0), [.pipe], .running, log: "is not an eventfd"),
        ]
      }
      for size: UInt32 in [3, 65] {
        messages.append(Message(.setVringNum, Self.state(0, size), log: "a power of two from 1 to 32768"))
      }
      for size: UInt32 in [0, 32769, 65536, .max] {
        messages.append(Message(.setVringNum, Self.state(0, size), log: "is not from 1 to 32768"))
      }
      messages += [
        Message(.setVringBase, Self.state(0, 65536), log: "does not fit into 16 bits"),
        Message(.setVringEnable, Self.state(0, 2), log: "2 instead of 0 or 1"),
        Message(.setVringAddress, Self.address(0, descriptor: 8), log: "misaligned"),
        Message(.setVringAddress, Self.address(0, avail: 1), log: "misaligned"),
        Message(.setVringAddress, Self.address(0, used: 2), log: "misaligned"),
        Message(
          .setVringAddress, bytes(2 << 32) + Array(repeating: 0, count: 32), log: "unknown vring address flags"),
        Message(.setVringKick, Self.file(0), [.eventFD], log: "started before SET_VRING_NUM"),
        Message(
          .setVringKick, Self.file(0), [.eventFD], log: "started before SET_VRING_ADDR",
          before: [(.setVringNum, Self.state(0, 64))]),
        Message(
          .setVringKick, Self.file(0), [.eventFD], log: "is not inside one memory region",
          before: [(.setVringNum, Self.state(0, 64)), (.setVringAddress, Self.address(0))]),
        // A reset leaves nothing of a ring.
        Message(
          .setVringKick, Self.file(0), [.eventFD], log: "started before SET_VRING_NUM",
          before: [
            (.setProtocolFeatures, bytes(ProtocolFeatures([.replyAck, .resetDevice]).rawValue)),
            (.setVringNum, Self.state(0, 64)), (.setVringAddress, Self.address(0)), (.resetDevice, []),
          ]),
        Message(.setVringNum, Self.state(0, 64), [], .running, log: "has to be stopped first"),
        Message(.setVringBase, Self.state(1, 7), [], .running, log: "has to be stopped first"),
        Message(.setVringAddress, Self.address(0), [], .running, log: "the addresses of a started vring change"),
      ]
      try Self.check(messages, on: Daemon())
    }
  }

  @Test("Features, protocol features and the status: what was not offered, and changes while rings run")
  func features() async throws {
    try await blocking {
      let some = Features([.version1, .netMergeableBuffers, .protocolFeatures])
      try Self.check(
        [
          Message(.setFeatures, bytes(some.rawValue | 1 << 40), log: "not offered"),
          Message(.setFeatures, bytes(.max), log: "not offered"),
          Message(.setFeatures, bytes(0), [], .running, log: "features change while vrings are started"),
          Message(.setProtocolFeatures, bytes(1 << 9), log: "not offered: CONFIG (9)"),
          Message(.setProtocolFeatures, bytes(.max), log: "not offered"),
          Message(
            .setProtocolFeatures, bytes(ProtocolFeatures.replyAck.rawValue), [], .running,
            log: "protocol features change while vrings are started"),
          Message(.setStatus, bytes(256), log: "a device status of 0x100"),
          Message(.setStatus, bytes(.max), [], .running, log: "a device status of"),
          Message(.netSetMTU, bytes(1500), log: "which was not negotiated"),
          Message(.getConfiguration, Array(repeating: 0, count: 12), log: "which was not negotiated"),
          Message(.setMemoryTable, Array(repeating: 0, count: 8), log: "has no place where"),
        ], on: Daemon())
    }
  }

  @Test("Memory regions that wrap around, overlap, exceed their file or are no memory")
  func memory() async throws {
    try await blocking {
      func region(
        guest: UInt64 = Guest.guestBase, size: UInt64 = 0x2_0000, user: UInt64 = Guest.userBase, offset: UInt64 = 0
      ) -> [UInt8] {
        SingleRegionPayload(
          region: MemoryRegionPayload(guestAddress: guest, size: size, userAddress: user, mapOffset: offset)
        ).encoded
      }
      let other: UInt64 = 0x1_0000_0000
      try Self.check(
        [
          Message(.addMemoryRegion, region(size: 0), [.guestMemory], log: "an empty memory region"),
          Message(.addMemoryRegion, region(guest: .max - 0xfff), [.guestMemory], log: "wraps around: guest address"),
          Message(.addMemoryRegion, region(user: .max - 0xfff), [.guestMemory], log: "wraps around: user address"),
          Message(.addMemoryRegion, region(size: .max), [.guestMemory], log: "wraps around"),
          Message(.addMemoryRegion, region(offset: .max - 0xfff), [.guestMemory], log: "beyond any file"),
          Message(.addMemoryRegion, region(offset: 1 << 63), [.guestMemory], log: "beyond any file"),
          Message(.addMemoryRegion, region(size: 0x2_0001), [.guestMemory], log: "ends behind its file"),
          Message(.addMemoryRegion, region(offset: 4096), [.guestMemory], log: "ends behind its file"),
          Message(.addMemoryRegion, region(size: 1 << 62), [.guestMemory], log: "ends behind its file"),
          Message(.addMemoryRegion, region(), [.file], log: "not memfd, tmpfs or hugetlbfs"),
          Message(.addMemoryRegion, region(), [.eventFD], log: "not memfd, tmpfs or hugetlbfs"),
          Message(.addMemoryRegion, region(), [.socket], log: "not memfd, tmpfs or hugetlbfs"),
          Message(.addMemoryRegion, region(), [.pipe], log: "not memfd, tmpfs or hugetlbfs"),
          Message(.addMemoryRegion, region(), [.readOnlyMemory], log: "its file cannot be mapped"),
          Message(.addMemoryRegion, region(), log: "no descriptor came along"),
          Message(.addMemoryRegion, region(), [.guestMemory, .guestMemory], log: "1 at most"),
          Message(.removeMemoryRegion, region(), log: "is not there"),
          Message(.addMemoryRegion, region(size: 0x1_0000), [.guestMemory], .running, log: "overlap"),
          Message(.addMemoryRegion, region(guest: other), [.guestMemory], .running, log: "overlap"),
          Message(.addMemoryRegion, region(user: other), [.guestMemory], .running, log: "overlap"),
          Message(
            .addMemoryRegion, region(guest: Guest.guestBase + 0x1_f000, size: 0x1000, user: other), [.guestMemory],
            .running, log: "overlap"),
          Message(.removeMemoryRegion, region(), [], .running, log: "is not inside one memory region"),
          Message(.removeMemoryRegion, region(size: 0x1_0000), [], .running, log: "is not there"),
        ], on: Daemon())
    }
  }

  @Test("The same of a memory table, without memory slots")
  func memoryTable() async throws {
    try await blocking {
      let daemon = try Daemon()
      let idle = try daemon.settledHoldings()
      try behaveWell(at: daemon.path)
      let guest = try Guest()
      let good = guest.region
      var overlapping = good
      overlapping.guestAddress += 0x1000
      overlapping.userAddress += 0x1000_0000
      for (regions, count, log) in [
        ([good], 0, "1 memory regions came with 0 descriptors"), ([good], 2, "1 memory regions came with 2"),
        ([good, good], 2, "overlap"), ([good, overlapping], 2, "overlap"),
      ] {
        let frontEnd = try RawFrontEnd(path: daemon.path)
        try frontEnd.negotiate(protocolFeatures: [.replyAck])
        let files = try (0..<count).map { _ in try guest.file.duplicate() }
        let mark = daemon.process.mark
        #expect(
          try !frontEnd.tell(
            .setMemoryTable, MemoryTablePayload(regions: regions).encoded, descriptors: files.map(\.rawValue)), "\(log)"
        )
        try daemon.process.waitForText(log, since: mark)
        // The number of regions is a lie.
        var lie = MemoryTablePayload(regions: regions).encoded
        lie[0] = 9
        #expect(try !frontEnd.tell(.setMemoryTable, lie, descriptors: files.map(\.rawValue)))
        lie[0] = UInt8(regions.count + 1)
        #expect(try !frontEnd.tell(.setMemoryTable, lie, descriptors: files.map(\.rawValue)))
        frontEnd.hangUp()
        #expect(daemon.settled(to: idle) == idle, "\(log)")
      }
      try behaveWell(at: daemon.path)
      #expect(try daemon.end() == .exited(0))
    }
  }
}
