import CLinux
import Glibc
import SystemPackage
import VDPA
import Virtio

@testable import Datapath

/// The two rings of a queue pair with the driver that uses them, in a memfd: what a port serves, without any thread.
final class RingsUnderTest {
  static let size = 8
  private static let base: UInt64 = 0x10000
  private static let ringBytes: UInt64 = 0x8000

  let memory: GuestMemory
  var receive: NetVring?
  var transmit: NetVring?
  private var drivers: [DriverRing] = []
  private var posted = [0, 0]
  private let receiveLength: UInt32

  /// - Parameters:
  ///   - features: What the driver has accepted.
  ///   - receiveLength: The length of each receive buffer in bytes, at most 512.
  ///   - observer: Who hears of broken rings.
  init(
    features: Features = [.version1, .netMergeableBuffers], receiveLength: UInt32 = 512,
    observer: (any DeviceObserver)? = nil
  ) throws {
    self.receiveLength = receiveLength
    let descriptor = unsafe clinux_memfd("rings")
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    let file = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    let size = 2 * RingsUnderTest.ringBytes
    guard ftruncate(file.rawValue, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
    memory = try GuestMemory.table([
      (
        try MemoryRegion(guestAddress: RingsUnderTest.base, size: size, userAddress: 0, fileOffset: 0),
        file.descriptor
      )
    ])
    let format = RingLayout.Format(for: features)
    var vrings: [NetVring] = []
    for index in 0..<2 {
      let start = RingsUnderTest.base + UInt64(index) * RingsUnderTest.ringBytes
      let description = VringDescription(
        index: index, size: RingsUnderTest.size, descriptor: start, avail: start + 0x1000, used: start + 0x2000,
        state: VringState(index: index, nextAvail: format.start, nextUsed: format.start))
      drivers.append(
        DriverRing(
          try RingMemory(
            RingLayout(format, size: RingsUnderTest.size), descriptor: start, avail: start + 0x1000,
            used: start + 0x2000, memory: memory.addressMap.view), features: features))
      vrings.append(
        try NetVring(
          DeviceSetup.Vring(description, isEnabled: true), features: features, memory: memory,
          counters: VringCounters(), observer: observer))
    }
    receive = vrings[0]
    transmit = vrings[1]
  }

  private func buffer(_ ring: Int) -> UInt64 {
    defer { posted[ring] += 1 }
    return RingsUnderTest.base + UInt64(ring) * RingsUnderTest.ringBytes + 0x4000
      + UInt64(posted[ring] % RingsUnderTest.size) * 512
  }

  /// Sends packets whose payload is one byte each.
  func send(_ payloads: [UInt8]) {
    for payload in payloads {
      let address = buffer(1)
      var view = memory.addressMap.view
      if let host = unsafe view.contiguous(at: address, length: 13, for: .write) {
        unsafe host.storeBytes(of: payload, toByteOffset: 12, as: UInt8.self)
      }
      _ = drivers[1].add([.init(address: address, length: 13, isWritable: false)])
    }
    _ = drivers[1].publish()
  }

  /// Sends packets with the headers that they have.
  func send(_ packets: [OffloadPacket]) {
    for packet in packets {
      let address = buffer(1)
      var header = [UInt8](repeating: 0, count: NetHeader.modernLength)
      var span = header.mutableSpan
      packet.header.encode(into: &span, length: NetHeader.modernLength)
      let bytes = header + packet.frame
      precondition(bytes.count <= 512)
      var view = memory.addressMap.view
      if let host = unsafe view.contiguous(at: address, length: bytes.count, for: .write) {
        for (i, byte) in bytes.enumerated() { unsafe host.storeBytes(of: byte, toByteOffset: i, as: UInt8.self) }
      }
      _ = drivers[1].add([.init(address: address, length: UInt32(bytes.count), isWritable: false)])
    }
    _ = drivers[1].publish()
  }

  /// The packets that have come with their headers, in order; each in one buffer.
  func receivedPackets() throws -> [OffloadPacket] {
    var packets: [OffloadPacket] = []
    while let entry = try drivers[0].collect() {
      let address = RingsUnderTest.base + 0x4000 + UInt64(collected % RingsUnderTest.size) * 512
      collected += 1
      var view = memory.addressMap.view
      guard let host = unsafe view.contiguous(at: address, length: Int(entry.length), for: .read) else { continue }
      let bytes = (0..<Int(entry.length)).map { unsafe host.load(fromByteOffset: $0, as: UInt8.self) }
      var header = NetHeader(decoding: bytes.span, length: NetHeader.modernLength)
      header.bufferCount = 0
      packets.append(OffloadPacket(whole: Array(bytes.dropFirst(NetHeader.modernLength)), behind: header))
    }
    return packets
  }

  /// Offers receive buffers.
  func offer(_ count: Int) {
    for _ in 0..<count { _ = drivers[0].add([.init(address: buffer(0), length: receiveLength, isWritable: true)]) }
    _ = drivers[0].publish()
  }

  /// The payloads that have come, in order.
  func received() throws -> [UInt8] {
    var payloads: [UInt8] = []
    var position = collected
    while let entry = try drivers[0].collect() {
      _ = entry
      let address =
        RingsUnderTest.base + 0x4000 + UInt64(position % RingsUnderTest.size) * 512
      var view = memory.addressMap.view
      if let host = unsafe view.contiguous(at: address, length: 13, for: .read) {
        payloads.append(unsafe host.load(fromByteOffset: 12, as: UInt8.self))
      }
      position += 1
    }
    collected = position
    return payloads
  }
  private var collected = 0

  /// Announces more packets than the ring has descriptors, as no correct driver does.
  func breakTransmitRing() {
    guard case .split(let area) = drivers[1].memory else { return }
    area.publishAvailIndex(UInt16(RingsUnderTest.size + 1))
  }

  /// How many of the packets sent have been returned since the last time.
  func returned() throws -> Int {
    var count = 0
    while try drivers[1].collect() != nil { count += 1 }
    return count
  }
}
