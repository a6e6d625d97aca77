import SystemPackage
import Testing

@testable import Virtio

/// A ring with a driver, a device and a record of what the device has, all in one memory: so that a copy of the memory is
/// what a device leaves behind that dies at that moment.
///
/// The n-th chain that the driver has ever made available can be read from its length.
struct InflightBench {
  private static let record: UInt64 = 0x10_0000
  private static let ring: UInt64 = 0x20_0000
  private static let parts: (avail: UInt64, used: UInt64, tables: UInt64) = (ring + 0x100, ring + 0x200, ring + 0x400)
  private static let firstLength = 64

  let ring: RingCase
  let start: UInt16
  let features: Features
  let memory: TestMemory
  var queue: InflightQueue
  let area: RingMemory
  private let segments = SegmentList()
  var guest: Guest

  /// What only the driver knows.
  struct Guest {
    fileprivate(set) var driver: DriverRing
    fileprivate(set) var posted = 0
    /// The chains that the device has, by id.
    fileprivate(set) var open: [UInt16: Int] = [:]
  }

  init(_ ring: RingCase, start: UInt16, capacity: Int? = nil, features: Features = []) throws {
    self.ring = ring
    self.start = start
    self.features = features.union([.version1, .indirectDescriptors])
    memory = try TestMemory([
      .init(start: InflightBench.record, size: 4096), .init(start: InflightBench.ring, size: 4096),
    ])
    memory.write(InflightBench.record, Array(repeating: 0, count: 4096))
    let layout = try InflightLayout(ring.format, queues: 2, queueSize: capacity ?? ring.size)
    let record = try InflightRecord(
      file: memory.file, offset: memory.regions[0].fileOffset, size: 4096, layout: layout)
    queue = try InflightQueue(record, index: 1, ring: RingLayout(ring.format, size: ring.size))
    area = try RingMemory(
      RingLayout(ring.format, size: ring.size), descriptor: InflightBench.ring, avail: InflightBench.parts.avail,
      used: InflightBench.parts.used, memory: memory.view)
    let tables = try IndirectTables(count: ring.size, length: 4, at: InflightBench.parts.tables, memory: memory.view)
    guest = Guest(driver: DriverRing(area, features: self.features, tables: tables, startingAt: start))
  }

  /// Where this ring's region begins in memory.
  var region: UInt64 { InflightBench.record + UInt64(queue.record.layout.queueBytes) }

  /// Where the descriptors of the ring begin.
  var descriptors: UInt64 { InflightBench.ring }

  // MARK: The driver

  /// Makes chains available, as many as there is room for but no more than `limit` in all.
  mutating func post(upTo limit: Int, _ forms: [Int]) {
    while guest.posted < limit {
      // So many descriptors; 0 stands for a table of three.
      let form = forms[guest.posted % forms.count]
      let count = form == 0 ? 3 : form
      let pieces = (0..<count).map { i in
        DriverRing.Piece(
          address: InflightBench.ring + 0x800 + UInt64(64 * i),
          length: UInt32(i == 0 ? InflightBench.firstLength + guest.posted : 8), isWritable: i == count - 1 && i > 0)
      }
      guard let id = guest.driver.add(pieces, isIndirect: form == 0) else { break }
      guest.open[id] = guest.posted
      guest.posted += 1
    }
    _ = guest.driver.publish()
  }

  /// Takes back what the device says that it has used.
  mutating func collect() throws -> [Int] {
    var back: [Int] = []
    while let (id, _) = try guest.driver.collect() {
      guard let number = guest.open.removeValue(forKey: id) else { throw Unmet(description: "chain \(id) came twice") }
      back.append(number)
    }
    return back
  }

  // MARK: The device

  /// A device that takes the record over.
  func device(onStore: (@Sendable () -> Void)? = nil) throws -> DeviceRing {
    // What a front-end says of a packed ring is what it knew last; the used index of a split one stands in the ring.
    let used: UInt16 = if case .split(let area) = area { area.usedIndex } else { start }
    var device = DeviceRing(area, features: features, nextAvail: start, nextUsed: used)
    var queue = queue
    queue.onStore = onStore
    try device.resume(with: queue)
    return device
  }

  /// Takes all that there is.
  func fetchAll(_ device: inout DeviceRing, with chains: [DeviceRing.Chain] = []) -> [DeviceRing.Chain] {
    var chains = chains
    while true {
      let outstanding = chains.reduce(0) { $0 + Int($1.descriptors) }
      guard let chain = device.fetchChain(into: segments, memory: memory.view, outstanding: outstanding) else {
        return chains
      }
      chains.append(chain)
    }
  }

  /// Which chains those are.
  func numbers(_ chains: [DeviceRing.Chain]) -> [Int] {
    // Between the first piece and the last there are only readable ones of eight bytes.
    chains.map { $0.readable - 8 * max($0.length - 2, 0) - InflightBench.firstLength }
  }
}
