import CLinux
import Glibc
import SystemPackage
import VDPA
import Virtio

@testable import Datapath

/// A guest that sends and receives whole frames, of any length, on one queue pair or several: its memory, its rings and its
/// driver. Who serves it is somebody else's.
final class FrameGuest {
  static let size = 32
  static let bufferLength: UInt64 = 0x1_1000
  private static let base: UInt64 = 0x10_0000
  private static let ringBytes: UInt64 = 0x4000 + UInt64(size) * bufferLength

  let features: Features
  let pairs: Int
  /// The length of each receive buffer in bytes.
  let receiveLength: UInt32
  let memory: GuestMemory
  private(set) var rings: [VringDescription] = []
  private var drivers: [DriverRing] = []
  private var posted: [Int]
  private var collected: [Int]
  private var headerLength: Int { NetHeader.length(for: features) }

  /// Features of drivers that leave nothing, or everything, to the device.
  static let plain: Features = [.version1, .netMergeableBuffers]
  static let offloading: Features = plain.union(.netOffloads)

  init(features: Features = plain, pairs: Int = 1, receiveLength: Int = 0x1_1000) throws {
    self.features = features
    self.pairs = pairs
    self.receiveLength = UInt32(receiveLength)
    posted = Array(repeating: 0, count: 2 * pairs)
    collected = posted
    let descriptor = unsafe clinux_memfd("frames")
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    let file = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    let bytes = UInt64(2 * pairs) * FrameGuest.ringBytes
    guard ftruncate(file.rawValue, off_t(bytes)) == 0 else { throw Errno(rawValue: errno) }
    memory = try GuestMemory.table([
      (
        try MemoryRegion(guestAddress: FrameGuest.base, size: bytes, userAddress: 0, fileOffset: 0), file.descriptor
      )
    ])
    let layout = try RingLayout(RingLayout.Format(for: features), size: FrameGuest.size)
    for index in 0..<2 * pairs {
      let start = FrameGuest.base + UInt64(index) * FrameGuest.ringBytes
      let ring = try RingMemory(
        layout, descriptor: start, avail: start + 0x1000, used: start + 0x2000, memory: memory.addressMap.view)
      drivers.append(DriverRing(ring, features: features))
      rings.append(
        VringDescription(
          index: index, size: FrameGuest.size, descriptor: start, avail: start + 0x1000, used: start + 0x2000,
          state: VringState(index: index, nextAvail: ring.start, nextUsed: ring.start), kick: try EventFD.make()))
    }
  }

  // MARK: The driver

  private func buffer(_ ring: Int, _ number: Int) -> UInt64 {
    FrameGuest.base + UInt64(ring) * FrameGuest.ringBytes + 0x4000
      + UInt64(number % FrameGuest.size) * FrameGuest.bufferLength
  }

  private func kick(_ ring: Int) {
    if drivers[ring].publish(), let kick = rings[ring].kick { EventFD.signal(kick) }
  }

  /// Sends packets with the headers that they have.
  ///
  /// - Returns: How many found room in the ring.
  @discardableResult
  func send(_ packets: [OffloadPacket], pair: Int = 0) -> Int {
    let ring = 2 * pair + 1
    while let done = try? drivers[ring].collect() { _ = done }
    var sent = 0
    for packet in packets {
      let address = buffer(ring, posted[ring])
      var header = [UInt8](repeating: 0, count: headerLength)
      var span = header.mutableSpan
      packet.header.encode(into: &span, length: headerLength)
      let bytes = header + packet.frame
      guard drivers[ring].outstanding < FrameGuest.size else { break }
      var view = memory.addressMap.view
      if let host = unsafe view.contiguous(at: address, length: bytes.count, for: .write) {
        for (i, byte) in bytes.enumerated() { unsafe host.storeBytes(of: byte, toByteOffset: i, as: UInt8.self) }
      }
      guard drivers[ring].add([.init(address: address, length: UInt32(bytes.count), isWritable: false)]) != nil else {
        break
      }
      posted[ring] += 1
      sent += 1
    }
    kick(ring)
    return sent
  }

  /// Sends frames that are complete.
  @discardableResult
  func send(_ frames: [[UInt8]], pair: Int = 0) -> Int { send(frames.map { OffloadPacket(whole: $0) }, pair: pair) }

  /// Offers receive buffers, as many as there are unless said otherwise.
  func offer(_ count: Int = size, pair: Int = 0) {
    let ring = 2 * pair
    for _ in 0..<count where drivers[ring].outstanding < FrameGuest.size {
      let piece = DriverRing.Piece(address: buffer(ring, posted[ring]), length: receiveLength, isWritable: true)
      guard drivers[ring].add([piece]) != nil else { break }
      posted[ring] += 1
    }
    kick(ring)
  }

  /// The packets that have come, in order, put together from their buffers.
  func receive(pair: Int = 0) throws -> [OffloadPacket] {
    let ring = 2 * pair
    var packets: [OffloadPacket] = []
    var rest = 0
    while let entry = try drivers[ring].collect() {
      let address = buffer(ring, collected[ring])
      collected[ring] += 1
      var view = memory.addressMap.view
      guard let host = unsafe view.contiguous(at: address, length: Int(entry.length), for: .read) else { continue }
      let bytes = unsafe [UInt8](UnsafeRawBufferPointer(start: host, count: Int(entry.length)))
      if rest > 0 {
        packets[packets.count - 1].frame += bytes
        rest -= 1
        continue
      }
      var header = NetHeader(decoding: bytes.span, length: headerLength)
      rest = max(Int(header.bufferCount), 1) - 1
      header.bufferCount = 0
      packets.append(OffloadPacket(whole: Array(bytes.dropFirst(headerLength)), behind: header))
    }
    return packets
  }

  /// How many of the packets sent are with the device.
  func sending(pair: Int = 0) -> Int { drivers[2 * pair + 1].outstanding }

  /// How many receive buffers are with the device.
  func offered(pair: Int = 0) -> Int { drivers[2 * pair].outstanding }
}

/// A guest of frames at a port of a switch, served turn by turn without any thread.
final class SwitchedGuest {
  let guest: FrameGuest
  let worker: Worker
  private(set) var pairs: [NetPair] = []
  let member: SwitchMember
  private let burst = PacketBurst()

  /// - Parameter configuration: What it can read.
  init(
    _ network: Switch, _ name: String, features: Features = FrameGuest.plain, pairs: Int = 1,
    receiveLength: Int = 0x1_1000, configuration: NetConfiguration? = nil
  ) throws {
    guest = try FrameGuest(features: features, pairs: pairs, receiveLength: receiveLength)
    worker = try Worker(name: name, mode: .event, cpu: nil)
    member = try network.join(name, pairs: pairs)
    for i in 0..<pairs {
      let pair = NetPair(
        name: "\(name) \(i)", worker: worker, port: SwitchPort(member, pair: i),
        receive: OwnedVring(name: "\(name) rx\(i)"), transmit: OwnedVring(name: "\(name) tx\(i)"))
      for (vring, index) in [(pair.receive, 2 * i), (pair.transmit, 2 * i + 1)] {
        let running = try NetVring(
          DeviceSetup.Vring(guest.rings[index], isEnabled: true), features: features, configuration: configuration,
          memory: guest.memory, counters: vring.counters)
        try vring.change { $0 = running }
      }
      pair.changed(isTransmit: false)
      self.pairs.append(pair)
    }
  }

  deinit { worker.stop() }

  /// Serves all pairs once.
  @discardableResult func turn() -> Int { pairs.reduce(0) { $0 + $1.serve(burst, isPolled: true) } }

  /// Enables or disables a receive ring.
  func setEnabled(_ isEnabled: Bool, pair: Int = 0) throws {
    try pairs[pair].receive.change { $0?.isEnabled = isEnabled }
    pairs[pair].changed(isTransmit: false)
  }

  /// Its front-end goes.
  func end() throws {
    for pair in pairs {
      for vring in [pair.transmit, pair.receive] { try vring.change { $0 = nil } }
      pair.changed(isTransmit: false)
      pair.end()
    }
  }

  /// What its port has counted.
  var counters: SwitchCounters {
    member.network.statistics.first { $0.port == worker.name }?.counters ?? SwitchCounters()
  }

  /// The frames that have come, after a turn.
  func frames(pair: Int = 0) throws -> [[UInt8]] {
    turn()
    return try guest.receive(pair: pair).map(\.frame)
  }
}

/// Frames with addresses that are numbers.
enum TestFrame {
  static let broadcast = [UInt8](repeating: 0xff, count: 6)

  /// The address of a station: 02:00:00:00 and its number.
  static func address(_ station: Int) -> [UInt8] { [2, 0, 0, 0, UInt8(station >> 8), UInt8(station & 255)] }

  static func make(to: [UInt8], from: [UInt8], _ content: Int = 0, length: Int = 60) -> [UInt8] {
    let head = to + from + [0x88, 0xb5] + (0..<4).map { UInt8(truncatingIfNeeded: content >> (8 * $0)) }
    return head + (head.count..<max(length, head.count)).map { UInt8(truncatingIfNeeded: $0 &* 13 &+ content) }
  }

  static func make(to: Int, from: Int, _ content: Int = 0, length: Int = 60) -> [UInt8] {
    make(to: address(to), from: address(from), content, length: length)
  }

  /// The number that a frame has.
  static func content(_ frame: [UInt8]) -> Int { (0..<4).reduce(0) { $0 | Int(frame[14 + $1]) << (8 * $1) } }
}
