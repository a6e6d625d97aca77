import VDPA
import Virtio

/// The guest's side of a request queue of a block device.
final class TestDisk {
  /// A request with its buffers.
  struct Request {
    var kind: BlockRequest.Kind
    var sector: UInt64 = 0
    /// What is written; empty for what is read.
    var data: [UInt8] = []
    /// How many bytes are to be read.
    var room = 0
  }

  /// How a request has ended.
  struct Answer: Equatable {
    var status: BlockStatus
    var data: [UInt8]
    /// How many bytes the device says that it has written.
    var written: UInt32
  }

  static let status: UInt8 = 0xee

  let index: Int
  let size: Int
  let kick: OwnedFD
  private let addresses: (descriptor: UInt64, avail: UInt64, used: UInt64)
  private let guest: TestGuest
  private let slots: UInt64
  private let slotSize: Int
  private var free: [Int]
  private var waiting: [UInt16: (request: Request, slot: Int, number: Int)] = [:]
  private var added = 0
  var driver: DriverRing
  var state: VringState
  /// The numbers of requests, in the order added, as they were completed.
  private(set) var completed: [Int] = []

  /// - Parameter slotSize: Room for header, data and status of a request.
  init(_ guest: TestGuest, index: Int = 0, size: Int = 256, slotSize: Int = 8192, features: Features = []) throws {
    self.guest = guest
    self.index = index
    self.size = size
    self.slotSize = slotSize
    let layout = try RingLayout(RingLayout.Format(for: features), size: size)
    addresses = (
      guest.allocate(layout.descriptorBytes), guest.allocate(layout.availBytes), guest.allocate(layout.usedBytes)
    )
    let memory = try RingMemory(
      layout, descriptor: addresses.descriptor, avail: addresses.avail, used: addresses.used, memory: guest.view)
    driver = DriverRing(memory, features: features)
    state = VringState(index: index, nextAvail: memory.start, nextUsed: memory.start)
    kick = try EventFD.make()
    let count = size / 3
    slots = guest.allocate(count * slotSize)
    free = Array((0..<count).reversed())
  }

  var vring: DeviceSetup.Vring {
    DeviceSetup.Vring(
      VringDescription(
        index: index, size: size, descriptor: addresses.descriptor, avail: addresses.avail, used: addresses.used,
        state: state, kick: kick),
      isEnabled: true)
  }

  /// Where the data of a request that is added next will be.
  var nextData: UInt64 { slots + UInt64((free.last ?? 0) * slotSize) + 512 }

  /// Makes a request available; its data in two pieces.
  func add(_ request: Request) {
    guard let slot = free.popLast() else { preconditionFailure("the test's ring is full") }
    let start = slots + UInt64(slot * slotSize)
    guest.write(BlockRequest(request.kind, sector: request.sector).encoded, at: start)
    guest.write([TestDisk.status], at: start + 16)
    guest.write(request.data, at: start + 512)
    let isWritable = request.data.isEmpty
    let length = isWritable ? request.room : request.data.count
    let first = min(length, 100)
    var pieces = [DriverRing.Piece(address: start, length: 16, isWritable: false)]
    for (offset, count) in [(0, first), (first, length - first)] where count > 0 {
      pieces.append(
        DriverRing.Piece(address: start + 512 + UInt64(offset), length: UInt32(count), isWritable: isWritable))
    }
    pieces.append(DriverRing.Piece(address: start + 16, length: 1, isWritable: true))
    guard let head = driver.add(pieces) else { preconditionFailure("the test's ring is full") }
    waiting[head] = (request, slot, added)
    added += 1
  }

  func publish() {
    if driver.publish() { EventFD.signal(kick) }
  }

  /// The requests that have ended, by their numbers.
  func collect() throws -> [Int: Answer] {
    var answers: [Int: Answer] = [:]
    while let (head, length) = try driver.collect() {
      guard let (request, slot, number) = waiting.removeValue(forKey: head) else {
        throw DriverRing.DeviceFault.unknownHead(UInt32(head))
      }
      let start = slots + UInt64(slot * slotSize)
      answers[number] = Answer(
        status: BlockStatus(rawValue: guest.read(start + 16, 1)[0]), data: guest.read(start + 512, request.room),
        written: length)
      free.append(slot)
      completed.append(number)
    }
    return answers
  }

  /// Does requests, and returns what has become of them, in the order given.
  func run(_ requests: [Request]) throws -> [Answer] {
    let first = added
    for request in requests { add(request) }
    publish()
    var answers: [Int: Answer] = [:]
    _ = try eventually {
      answers.merge(try collect()) { $1 }
      return answers.count == requests.count
    }
    return (0..<requests.count).compactMap { answers[first + $0] }
  }

  func run(_ request: Request) throws -> Answer? { try run([request]).first }
}
