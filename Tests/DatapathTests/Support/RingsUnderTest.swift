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
    var vrings: [NetVring] = []
    for index in 0..<2 {
      let start = RingsUnderTest.base + UInt64(index) * RingsUnderTest.ringBytes
      let description = VringDescription(
        index: index, size: RingsUnderTest.size, descriptor: start, avail: start + 0x1000, used: start + 0x2000,
        state: VringState(index: index, nextAvail: 0, nextUsed: 0))
      drivers.append(
        DriverRing(
          try RingMemory(
            RingLayout(.split, size: RingsUnderTest.size), descriptor: start, avail: start + 0x1000,
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
