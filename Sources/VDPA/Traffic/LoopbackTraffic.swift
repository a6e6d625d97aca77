internal import Virtio

/// Numbered and timestamped packets over all queue pairs of a guest, whose device gives them back, checked when they come.
///
/// Each pair keeps as many packets with the device as its window allows, in every shape that was negotiated: one piece,
/// header apart, tables. The device may be stopped and another one go on in the middle. For one thread.
public final class LoopbackTraffic: GuestTraffic {
  /// What is sent.
  public struct Configuration: Sendable, Hashable {
    /// The most packets of a pair that are with the device to be sent.
    public var window = 256
    /// The lengths of frames in bytes, which take turns; from 60 to 1514.
    public var lengths = 60...1514

    /// A window of 256 packets, of all lengths.
    public init() {}
  }

  /// One pair's rings, buffers and checker.
  private struct Pair {
    let receive: DriverVring
    let transmit: DriverVring
    var checker: TrafficChecker
    /// Buffers with the device, by id; of those to be sent with the packet's number.
    var empty: [UInt16: UInt64] = [:]
    var full: [UInt16: (buffer: UInt64, number: UInt64)] = [:]
    var freeReceive: [UInt64] = []
    var freeTransmit: [UInt64] = []
    /// How many packets are to be sent.
    var wanted: UInt64 = 0
  }

  private static let bufferLength = 2048
  private static let lengthStep = 97

  /// Whose rings they go over.
  public let guest: DriverGuest
  /// What is sent.
  public let configuration: Configuration
  private var pairs: [Pair] = []
  private let hasTables: Bool

  /// Traffic over all vrings of a guest: those with an even index receive, the others transmit (virtio 1.2, §5.1.2).
  ///
  /// - Throws: ``VDPAError`` `noResources`, when the guest's memory has less than ``bufferBytes(ringSize:pairs:)`` left.
  public init(_ guest: DriverGuest, _ configuration: Configuration = Configuration()) throws(VDPAError) {
    precondition(configuration.lengths.lowerBound >= 60 && configuration.lengths.upperBound <= 1514)
    self.guest = guest
    self.configuration = configuration
    hasTables = guest.features.contains(.indirectDescriptors)
    for index in 0..<guest.vrings.count / 2 {
      var pair = Pair(
        receive: guest.vrings[2 * index], transmit: guest.vrings[2 * index + 1],
        checker: TrafficChecker(pair: UInt16(index)))
      pair.freeReceive = try buffers(pair.receive.layout.size)
      pair.freeTransmit = try buffers(pair.transmit.layout.size)
      pairs.append(pair)
    }
  }

  /// How much memory the buffers of so many pairs take, in bytes.
  public static func bufferBytes(ringSize: Int, pairs: Int) -> Int { 2 * pairs * ringSize * bufferLength }

  private func buffers(_ count: Int) throws(VDPAError) -> [UInt64] {
    var buffers: [UInt64] = []
    for _ in 0..<count {
      buffers.append(
        try guest.memory.allocate(LoopbackTraffic.bufferLength, alignment: LoopbackTraffic.bufferLength))
    }
    return buffers
  }

  // MARK: Running

  /// Sends more packets on each pair with the steps to come.
  public func want(_ count: UInt64) {
    for i in pairs.indices { pairs[i].wanted += count }
  }

  /// One turn over all pairs: takes in what has come and sends what may be sent.
  ///
  /// - Returns: Whether anything has happened.
  /// - Throws: ``VringFault``.
  @discardableResult
  public func step() throws(VringFault) -> Bool {
    var hasMoved = false
    for i in pairs.indices {
      let hasCome = try collect(&pairs[i])
      let hasGone = send(&pairs[i])
      hasMoved = hasMoved || hasCome || hasGone
    }
    return hasMoved
  }

  /// Whether all that is to be sent has been sent and has come back, and nothing is with the device to be sent.
  public var isComplete: Bool {
    pairs.allSatisfy { $0.checker.sent == $0.wanted && $0.checker.isComplete && $0.full.isEmpty }
  }

  /// What is wrong with the packets that have come back.
  public var problem: String? {
    let wrong = reports.enumerated().flatMap { pair, report in
      report.counters.dropFirst(3).filter { $0.value > 0 }.map { "\($0.value) \($0.name) on pair \(pair)" }
    }
    return wrong.isEmpty ? nil : "packets are wrong: \(wrong.joined(separator: ", "))"
  }

  /// `pair 0: 20 of 100 packets came back, …`.
  public var progress: String {
    pairs.enumerated().map { "pair \($0): \($1.checker.result.received) of \($1.wanted) packets came back" }
      .joined(separator: ", ")
  }

  /// What became of the packets of each pair so far; those on their way count as lost.
  public var reports: [TrafficReport] { pairs.map(\.checker.result) }

  /// Takes in that the device has gone without giving its rings back: what it had then may be gone, or be sent twice.
  ///
  /// - Throws: ``VringFault``, as ``step()``.
  public func noteLostDevice() throws(VringFault) {
    for i in pairs.indices {
      _ = try collect(&pairs[i])
      let oldest = pairs[i].full.values.map(\.number).min()
      pairs[i].checker.reconnect(oldestWithDevice: oldest ?? pairs[i].checker.sent)
    }
  }

  // MARK: Packets

  private func collect(_ pair: inout Pair) throws(VringFault) -> Bool {
    var hasMoved = false
    // First what was sent: a packet that has come back may then be known to be no longer with the device.
    while let (id, _) = try pair.transmit.collect() {
      if let (buffer, _) = pair.full.removeValue(forKey: id) { pair.freeTransmit.append(buffer) }
      hasMoved = true
    }
    while let (id, length) = try pair.receive.collect() {
      guard let buffer = pair.empty.removeValue(forKey: id) else { continue }
      let header = NetHeader.length(for: guest.features)
      // A packet fits into one buffer, and is written to one.
      let frame = length > header ? guest.memory.read(buffer + UInt64(header), count: length - header) : []
      pair.checker.receive(frame, at: MonotonicClock.nanoseconds)
      pair.freeReceive.append(buffer)
      hasMoved = true
    }
    return hasMoved
  }

  private func send(_ pair: inout Pair) -> Bool {
    let header = NetHeader.length(for: guest.features)
    var (offered, sent) = (false, false)
    while let buffer = pair.freeReceive.last {
      // Every other one in a table: the header, some of the packet, the rest.
      let isIndirect = hasTables && pair.empty.count % 2 == 1
      let pieces = LoopbackTraffic.pieces(buffer, LoopbackTraffic.bufferLength, isIndirect ? [header, 53] : [])
      guard let id = pair.receive.add(writable: pieces, isIndirect: isIndirect) else { break }
      pair.empty[id] = pair.freeReceive.removeLast()
      offered = true
    }
    if offered { pair.receive.publish() }
    while pair.checker.sent < pair.wanted, pair.full.count < configuration.window, let buffer = pair.freeTransmit.last {
      let number = pair.checker.sent
      let lengths = configuration.lengths
      let length = lengths.lowerBound + Int(number % 65521) * LoopbackTraffic.lengthStep % lengths.count
      let isIndirect = hasTables && number % 4 == 3
      let cuts = number % 4 < 2 ? [] : number % 4 == 2 ? [header] : [header, 31]
      let pieces = LoopbackTraffic.pieces(buffer, header + length, isIndirect || cuts.count < 2 ? cuts : [])
      guard let id = pair.transmit.add(readable: pieces, isIndirect: isIndirect) else { break }
      // Written before it is announced, and stamped as late as can be.
      let packet = pair.checker.send(at: MonotonicClock.nanoseconds, length: length)
      guest.memory.write([UInt8](repeating: 0, count: header) + packet.encoded, at: buffer)
      pair.full[id] = (pair.freeTransmit.removeLast(), number)
      sent = true
    }
    if sent { pair.transmit.publish() }
    pair.checker.observe(inFlight: pair.full.count)
    return sent
  }

  /// A buffer, cut after so many bytes each time.
  private static func pieces(_ address: UInt64, _ length: Int, _ cuts: [Int]) -> [DriverVring.Piece] {
    var pieces: [DriverVring.Piece] = []
    var offset = 0
    for cut in cuts {
      pieces.append((address + UInt64(offset), cut))
      offset += cut
    }
    return pieces + [(address + UInt64(offset), length - offset)]
  }
}
