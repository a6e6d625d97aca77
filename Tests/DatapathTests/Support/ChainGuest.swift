import CLinux
import Glibc
import Synchronization
import SystemPackage
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A guest with a driver for each ring of a software device, on the device's own workers.
final class ChainGuest {
  private static let usualSize = 8
  private static let base: UInt64 = 0x10000
  static let ringBytes: UInt64 = 0x10000

  let size: Int
  let features: Features
  private(set) var engine: SoftwareEngine
  private(set) var device: any Device
  /// What the device is given.
  var memory: GuestMemory
  /// The same memory as the guest itself sees it.
  private let own: GuestMemory
  private let file: OwnedFD
  private(set) var rings: [VringDescription] = []
  private(set) var drivers: [DriverRing] = []
  private var nextBuffer: [UInt64] = []
  private var buffers: [[UInt16: (start: UInt64, readable: Int, writable: Int)]] = []
  let reports = Reports()
  private let mode: WorkerConfiguration.Mode

  /// What a device has reported.
  final class Reports: DeviceObserver {
    private let reports = Mutex<[DeviceReport]>([])
    var all: [DeviceReport] { reports.withLock { $0 } }
    func deviceReports(_ report: DeviceReport) { reports.withLock { $0.append(report) } }
  }

  /// A guest whose device is configured, with all rings running.
  ///
  /// - Parameter hasRecord: Whether what the device has is noted for another one.
  init(
    _ software: any SoftwareDevice, features: Features, mode: WorkerConfiguration.Mode = .event,
    ringSize: Int = usualSize, hasRecord: Bool = false, workers: Int = 1,
    onReport: (@Sendable (WorkerReport) -> Void)? = nil
  ) throws {
    size = ringSize
    self.mode = mode
    self.features = features
    engine = try SoftwareEngine(workers: WorkerConfiguration(mode: mode, count: workers), onReport: onReport)
    engine.register(software.type) { _ in software }
    device = try engine.open(DeviceRequest(device: -1, owner: "guest", type: software.type))
    let count = device.attributes.vringCount
    let descriptor = unsafe clinux_memfd("chains")
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    file = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    let bytes = UInt64(count) * ChainGuest.ringBytes
    guard ftruncate(file.rawValue, off_t(bytes)) == 0 else { throw Errno(rawValue: errno) }
    memory = try ChainGuest.map(file, bytes)
    own = try ChainGuest.map(file, bytes)
    let layout = try RingLayout(RingLayout.Format(for: features), size: size)
    var record: InflightRecord?
    if hasRecord {
      let inflight = try InflightLayout(layout.format, queues: count, queueSize: size)
      let file = try MemoryFile.make("record", size: inflight.bytes)
      record = try withExtendedLifetime(file) {
        try InflightRecord(file: file.descriptor, offset: 0, size: UInt64(inflight.bytes), layout: inflight)
      }
    }
    for index in 0..<count {
      let start = ChainGuest.base + UInt64(index) * ChainGuest.ringBytes
      let view = own.addressMap.view
      let ring = try RingMemory(
        layout, descriptor: start, avail: start + 0x1000, used: start + 0x2000, memory: view)
      let tables = try IndirectTables(count: size, length: 8, at: start + 0x3000, memory: view)
      drivers.append(DriverRing(ring, features: features, tables: tables))
      rings.append(
        VringDescription(
          index: index, size: size, descriptor: start, avail: start + 0x1000, used: start + 0x2000,
          state: VringState(index: index, nextAvail: ring.start, nextUsed: ring.start), kick: try EventFD.make(),
          call: try EventFD.make(), inflight: try record.map { try InflightQueue($0, index: index, ring: layout) }))
      nextBuffer.append(start + 0x8000)
      buffers.append([:])
    }
    try configure()
  }

  private static func map(_ file: OwnedFD, _ bytes: UInt64) throws -> GuestMemory {
    try GuestMemory.table([
      (try MemoryRegion(guestAddress: base, size: bytes, userAddress: 0, fileOffset: 0), file.descriptor)
    ])
  }

  func configure() throws {
    for i in rings.indices {
      // What a session reads when a ring starts.
      if case .split(let area) = drivers[i].memory { rings[i].state.nextUsed = area.usedIndex }
    }
    try device.configure(
      DeviceSetup(
        features: features, memory: memory, vrings: rings.map { DeviceSetup.Vring($0, isEnabled: true) },
        observer: reports))
  }

  /// Another device takes the rings over, without a word from the one that had them, which must do nothing more.
  ///
  /// - Returns: What that one was, to be ended when nobody looks any more.
  func takeOver(by software: any SoftwareDevice) throws -> (engine: SoftwareEngine, device: any Device) {
    let before = (engine, device)
    engine = try SoftwareEngine(workers: WorkerConfiguration(mode: mode))
    engine.register(software.type) { _ in software }
    device = try engine.open(DeviceRequest(device: -1, owner: "guest", type: software.type))
    try configure()
    return before
  }

  /// Takes the memory away and gives it back mapped anew.
  func replaceMemory() throws {
    let new = try ChainGuest.map(file, UInt64(rings.count) * ChainGuest.ringBytes)
    try device.memoryChanged(from: memory, to: new)
    memory = new
  }

  func end() {
    _ = try? device.close()
    engine.stop()
  }

  /// Gives the device a request: some bytes to read, and room.
  @discardableResult
  func post(_ bytes: [UInt8], room: Int, ring: Int = 0, isIndirect: Bool = false, cut: Int = .max) -> UInt16? {
    let start = nextBuffer[ring]
    var view = own.addressMap.view
    if let host = unsafe view.contiguous(at: start, length: bytes.count + room, for: .write) {
      for (i, byte) in bytes.enumerated() { unsafe host.storeBytes(of: byte, toByteOffset: i, as: UInt8.self) }
    }
    var pieces: [DriverRing.Piece] = []
    for (length, isWritable, from) in [(bytes.count, false, 0), (room, true, bytes.count)] where length > 0 {
      for offset in stride(from: 0, to: length, by: min(cut, length)) {
        pieces.append(
          .init(
            address: start + UInt64(from + offset), length: UInt32(min(cut, length - offset)), isWritable: isWritable))
      }
    }
    guard let id = drivers[ring].add(pieces, isIndirect: isIndirect) else { return nil }
    nextBuffer[ring] += UInt64(bytes.count + room)
    buffers[ring][id] = (start, bytes.count, room)
    return id
  }

  /// Fills an empty ring with heads that all name one table, which no driver does.
  ///
  /// - Parameter length: How many pieces the table has, a byte each.
  func postSharedTable(heads: Int, length: Int) throws {
    let table = rings[0].descriptor + 0x8000
    let (format, view) = (RingLayout.Format(for: features), own.addressMap.view)
    var memory = view
    if let host = unsafe memory.contiguous(at: table, length: length * 16, for: .write) {
      for i in 0..<length {
        let flags = (i < length - 1 && format == .split ? RingDescriptor.next : 0) | RingDescriptor.write
        let (flagsAt, linkAt) = format == .split ? (12, 14) : (14, 12)
        unsafe host.storeBytes(of: table + 0x5000 + UInt64(i), toByteOffset: i * 16, as: UInt64.self)
        unsafe host.storeBytes(of: 1 as UInt32, toByteOffset: i * 16 + 8, as: UInt32.self)
        unsafe host.storeBytes(of: flags, toByteOffset: i * 16 + flagsAt, as: UInt16.self)
        unsafe host.storeBytes(of: UInt16(i + 1), toByteOffset: i * 16 + linkAt, as: UInt16.self)
      }
    }
    for i in 0..<heads {
      let head = RingDescriptor(
        address: table, length: UInt32(length * 16), flags: RingDescriptor.indirect, link: UInt16(i))
      switch drivers[0].memory {
      case .split(let area):
        area.setDescriptor(i, head)
        area.setHead(at: UInt16(i), UInt16(i))
      case .packed(let area):
        area.setAvailable(area.advance(RingLayout.packedStart, by: i), head, isFirst: false)
      }
    }
    if case .split(let area) = drivers[0].memory { area.publishAvailIndex(UInt16(heads)) }
    if let kick = rings[0].kick { EventFD.signal(kick) }
  }

  /// Announces what was posted.
  func kick(ring: Int = 0) {
    if drivers[ring].publish(), let kick = rings[ring].kick { EventFD.signal(kick) }
  }

  /// Waits for so many chains to come back.
  ///
  /// - Returns: Their ids with what was written into them, in the order in which they came.
  func collect(_ count: Int, ring: Int = 0) throws -> [(id: UInt16, written: [UInt8])] {
    var back: [(UInt16, [UInt8])] = []
    let end = MonotonicClock.nanoseconds + 20_000_000_000
    while back.count < count && MonotonicClock.nanoseconds < end {
      guard let (id, length) = try drivers[ring].collect() else {
        usleep(200)
        continue
      }
      guard let buffer = buffers[ring].removeValue(forKey: id) else { throw DriverRing.DeviceFault.unknownHead(0) }
      var view = own.addressMap.view
      var bytes: [UInt8] = []
      if let host = unsafe view.contiguous(
        at: buffer.start + UInt64(buffer.readable), length: Int(length), for: .read)
      {
        bytes = (0..<Int(length)).map { unsafe host.load(fromByteOffset: $0, as: UInt8.self) }
      }
      back.append((id, bytes))
    }
    return back
  }
}

/// Keeps all chains until it is told what to do with them.
final class KeepingDevice: SoftwareDevice {
  let type = DeviceType.entropy
  let queueCount: Int
  private struct Kept: ~Copyable {
    var chain: Chain
    var queue: Int
    var next: Link
  }
  private final class Link: Sendable {
    let kept: Mutex<Kept?>
    init(_ kept: consuming sending Kept?) { self.kept = Mutex(kept) }
  }
  private let first = Mutex<(link: Link, count: Int)>((Link(nil), 0))
  let starts = Atomic<Int>(0)
  let stops = Atomic<Int>(0)

  init(queueCount: Int = 1) { self.queueCount = queueCount }

  func process(_ chain: consuming Chain, queue: Int) {
    let before = first.withLock { $0 }
    let link = Link(Kept(chain: chain, queue: queue, next: before.link))
    first.withLock { $0 = (link, before.count + 1) }
  }

  var count: Int { first.withLock { $0.count } }

  /// Waits until it has so many.
  func wait(for wanted: Int) -> Bool {
    for _ in 0..<20_000 where count < wanted { usleep(500) }
    return count == wanted
  }

  /// Lets go of them, the last one first, each with its number from the end written into it.
  func finishAll() {
    var link = first.withLock { state in
      defer { state = (Link(nil), 0) }
      return state.link
    }
    var number: UInt8 = 0
    while true {
      var next: Link?
      link.kept.withLock { kept in
        guard var last = kept.take() else { return }
        last.chain.write([number], at: 0)
        next = last.next
      }
      guard let following = next else { return }
      number += 1
      link = following
    }
  }

  func start(queue: Int, context: QueueContext) throws { starts.add(1, ordering: .relaxed) }
  func stop(queue: Int) { stops.add(1, ordering: .relaxed) }
}
