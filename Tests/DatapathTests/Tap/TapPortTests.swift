import Glibc
import NetTestSupport
import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// TAP devices of this machine's kernel, each in a network namespace that the test makes.
struct TapPortTests {
  /// A UDP or TCP socket of the kernel, connected to the guest.
  private static func connect(_ type: CInt, port: UInt16 = 7000) throws -> CInt {
    let socket = Glibc.socket(AF_INET, type, 0)
    try #require(socket >= 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = TapStation.address.enumerated().reduce(0) { $0 | UInt32($1.element) << (8 * $1.offset) }
    let result = unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(result == 0, "connect: \(errno)")
    return socket
  }

  private static let udp = CInt(SOCK_DGRAM.rawValue)
  private static let tcp = CInt(SOCK_STREAM.rawValue)

  /// Sends datagrams that have numbers, from as many ports as wanted.
  private func sendDatagrams(_ namespace: NetworkNamespace, _ numbers: Range<Int>, ports: Int = 1) throws {
    try namespace.run {
      let sockets = try (0..<ports).map { _ in try Self.connect(Self.udp) }
      for number in numbers {
        let text: [UInt8] = [UInt8(number >> 8), UInt8(number & 255)] + [UInt8](repeating: 7, count: 30)
        try #require(unsafe send(sockets[number % ports], text, text.count, 0) == text.count)
      }
      for socket in sockets { close(socket) }
    }
  }

  /// The numbers of the datagrams among packets.
  private func numbers(_ packets: [OffloadPacket]) -> [Int] {
    packets.compactMap { packet -> Int? in
      let frame = packet.frame
      guard frame.count >= 44, frame[12] == 8, frame[13] == 0, frame[23] == 17 else { return nil }
      return Int(frame[42]) << 8 | Int(frame[43])
    }
  }

  @Test(
    "A kernel's TCP and a guest's exchange data, with the guest's offloads and without",
    arguments: [FrameGuest.plain, FrameGuest.offloading, [.version1, .packedRing], []] as [Features],
    WorkerConfiguration.Mode.allCases)
  func stream(features: Features, mode: WorkerConfiguration.Mode) throws {
    let namespace = try NetworkNamespace()
    let hasOffloads = features.contains(.netOffloads)
    let station = try TapStation(
      namespace, features: features, receiveLength: features.contains(.netMergeableBuffers) ? 2048 : 1600, mode: mode)
    defer { station.end() }
    station.guest.offer()
    let data = pattern(400_000)
    let host = try namespace.start { () -> [UInt8] in
      let socket = try Self.connect(Self.tcp)
      defer { close(socket) }
      var sent = 0
      while sent < data.count {
        let count = unsafe data.withUnsafeBytes { unsafe send(socket, $0.baseAddress! + sent, data.count - sent, 0) }
        try #require(count > 0)
        sent += count
      }
      shutdown(socket, CInt(SHUT_WR))
      var back: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 65536)
      while back.count < data.count / 2 {
        let count = unsafe recv(socket, &buffer, buffer.count, 0)
        try #require(count > 0)
        back += buffer.prefix(count)
      }
      return back
    }
    var tcp = GuestTCP()
    func serve() throws {
      for packet in try station.guest.receive() {
        if packet.frame.count >= 14 { tcp.hostAddress = Array(packet.frame[6..<12]) }
        let answers = try tcp.take(packet)
        if !answers.isEmpty { try station.wait("room to send") { station.guest.send(answers) == answers.count } }
      }
      station.guest.offer()
    }
    try station.wait("the stream's end") {
      try serve()
      return tcp.isEnded
    }
    #expect(tcp.received == data)
    #expect(tcp.hasUnfinished == hasOffloads && (tcp.longestFrame > 1514) == hasOffloads)
    // And back.
    var offset = 0
    while offset < data.count / 2 {
      let chunk = Array(data[offset..<min(offset + (hasOffloads ? 30_000 : 1400), data.count / 2)])
      #expect(station.guest.send([tcp.send(chunk, offloads: hasOffloads)]) == 1)
      offset += chunk.count
      try station.wait("the acknowledgement of \(offset)") {
        try serve()
        return tcp.acknowledged == tcp.sent
      }
    }
    #expect(try host.result() == Array(data.prefix(data.count / 2)))
    #expect(station.sent.dropped == 0 && station.sent.invalidHeaders == 0)
  }

  @Test("One packet at a time wakes the worker each time")
  func wakeups() throws {
    let namespace = try NetworkNamespace()
    let station = try TapStation(namespace)
    defer { station.end() }
    for number in 0..<200 {
      station.guest.offer()
      try sendDatagrams(namespace, number..<number + 1)
      var got: [Int] = []
      try station.wait {
        got += numbers(try station.guest.receive())
        return !got.isEmpty
      }
      #expect(got == [number])
    }
  }

  @Test("Packets that find no buffers wait in the kernel, and come when the guest gives some")
  func buffersLater() throws {
    let namespace = try NetworkNamespace()
    let station = try TapStation(namespace)
    defer { station.end() }
    try sendDatagrams(namespace, 0..<100)
    var got: [Int] = []
    for _ in 0..<25 {
      station.guest.offer(4)
      let wanted = got.count + 4
      try station.wait {
        got += numbers(try station.guest.receive())
        return got.count >= wanted
      }
    }
    #expect(got == Array(0..<100))
  }

  @Test("Only pairs that receive are given packets; flows go to others when one is disabled")
  func queues() throws {
    let namespace = try NetworkNamespace()
    let station = try TapStation(namespace, pairs: 2)
    defer { station.end() }
    func receive(_ range: Range<Int>) throws -> [[Int]] {
      for pair in 0..<2 { station.guest.offer(pair: pair) }
      try sendDatagrams(namespace, range, ports: range.count)
      var got: [[Int]] = [[], []]
      try station.wait {
        for pair in 0..<2 {
          got[pair] += numbers(try station.guest.receive(pair: pair))
          station.guest.offer(pair: pair)
        }
        return got.joined().count == range.count
      }
      #expect(got.joined().sorted() == Array(range))
      return got
    }
    let both = try receive(0..<64)
    #expect(!both[0].isEmpty && !both[1].isEmpty)
    for isEnabled in [false, true] {
      try station.device.setVring(station.guest.rings[2], enabled: isEnabled)
      #expect(try receive(100..<164)[1].isEmpty == !isEnabled)
    }
    try station.device.setVring(station.guest.rings[0], enabled: false)
    #expect(try receive(200..<264)[0].isEmpty)
  }

  @Test("A guest that comes later gets nothing of what was sent before", arguments: [true, false])
  func stale(hasQueues: Bool) throws {
    let namespace = try NetworkNamespace()
    if !hasQueues { try namespace.ip("tuntap add dev tap0 mode tap") }
    let station = try TapStation(namespace)
    defer { station.end() }
    // One is given no buffers, and goes.
    try sendDatagrams(namespace, 0..<50)
    for state in try station.device.close() { #expect(state.nextUsed == 0) }
    try sendDatagrams(namespace, 50..<100)
    station.guest.offer()
    try station.connect()
    try sendDatagrams(namespace, 100..<120)
    var got: [Int] = []
    try station.wait {
      got += numbers(try station.guest.receive())
      return got.contains(119)
    }
    #expect(got == Array(100..<120))
  }

  @Test("What the kernel does not take is dropped and counted, and holds up nobody")
  func refused() throws {
    let namespace = try NetworkNamespace()
    let station = try TapStation(namespace, features: FrameGuest.offloading)
    defer { station.end() }
    func isDone() -> Bool { station.guest.send([] as [OffloadPacket]) == 0 && station.guest.sending() == 0 }
    var outside = OffloadPacket(unfinished: TCPFrame(payload: 100))
    outside.header.checksumStart = 5000
    let frame = OffloadPacket(whole: TestFrame.make(to: 1, from: 9))
    station.guest.send([OffloadPacket(whole: []), outside, OffloadPacket(whole: [1, 2, 3]), frame])
    try station.wait { isDone() }
    #expect(station.sent.dropped == 3 && station.sent.invalidHeaders == 1)
    try namespace.ip("link set tap0 down")
    station.guest.send([frame, frame])
    try station.wait { isDone() }
    #expect(station.sent.dropped == 5)
    try namespace.ip("link set tap0 up")
    station.guest.send([frame])
    try station.wait { isDone() }
    #expect(station.sent.dropped == 5)
  }

  @Test("A device that is deleted is reported once; the guest's packets are dropped, and it is not left waiting")
  func deleted() throws {
    let namespace = try NetworkNamespace()
    let station = try TapStation(namespace)
    defer { station.end() }
    station.guest.offer()
    try namespace.ip("link del tap0")
    try station.wait("a report") { !station.observer.reports.withLock { $0.isEmpty } }
    for _ in 0..<5 {
      station.guest.send([TestFrame.make(to: 1, from: 9)])
      try station.wait { station.guest.send([] as [OffloadPacket]) == 0 && station.guest.sending() == 0 }
    }
    #expect(station.sent.dropped == 5)
    let reports = station.observer.reports.withLock { $0 }
    guard reports.count == 1, case .requestsFail(_, let reason) = reports[0] else {
      Issue.record("\(reports)")
      return
    }
    #expect(reason.contains("tap0") && reason.contains("deleted"))
  }

  @Test("A frame in the guest's name goes out")
  func announcement() throws {
    let namespace = try NetworkNamespace()
    let station = try TapStation(namespace)
    defer { station.end() }
    let before = try namespace.receivedBytes("tap0")
    try #require(station.device.capabilities.announcement).announce(MACAddress(bytes: TapStation.mac) ?? .zero)
    #expect(try namespace.receivedBytes("tap0") == before + 60)
  }

  @Test("A device that cannot be had is refused with what to do")
  func errors() throws {
    let namespace = try NetworkNamespace()
    let engine = try SoftwareEngine()
    defer { engine.stop() }
    func error(_ name: String, queues: Int = 1) throws -> DatapathError? {
      try namespace.run { () -> DatapathError? in
        do {
          _ = try engine.open(
            DeviceRequest(device: -1, owner: "vm0", type: .net, queues: queues, parameters: ["port": "tap=\(name)"]))
          return nil
        } catch {
          return error as? DatapathError
        }
      }
    }
    try namespace.ip("link add br0 type bridge;tuntap add dev one mode tap;tuntap add dev many mode tap multi_queue")
    let bridge = try #require(try error("br0"))
    #expect(bridge.code == .badConfiguration && bridge.description.contains("no TAP device"))
    let one = try #require(try error("one", queues: 2))
    #expect(one.code == .badConfiguration && one.description.contains("2 are wanted"))
    #expect(one.description.contains("multi_queue"))
    #expect(try error("one") == nil && error("many") == nil && error("many", queues: 3) == nil)
    // One that was made before stays.
    _ = try (namespace.receivedBytes("one"), namespace.receivedBytes("many"))
    try namespace.run {
      // Somebody else has the only queue.
      let held = try TapDevice("one", queues: 1, owner: "vm1")
      let error = #expect(throws: DatapathError.self) { _ = try TapDevice("one", queues: 1, owner: "vm2") }
      #expect(error?.code == .inUse)
      _ = held
    }
  }
}
