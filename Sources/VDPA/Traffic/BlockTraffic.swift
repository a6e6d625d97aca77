internal import Virtio

/// Numbered blocks over all vrings of a guest with a block device, each written, read back and compared.
///
/// It overwrites the beginning of the disk: ``bytes(vrings:)`` of it. For one thread.
public final class BlockTraffic: GuestTraffic {
  /// What one slot does: first it writes, then it reads the same place.
  private enum Phase {
    case idle
    case writing(UInt64)
    case waiting(UInt64)
    case reading(UInt64)
  }

  private struct Slot {
    let sector: UInt64
    let header: UInt64
    let status: UInt64
    let data: UInt64
    var phase = Phase.idle
  }

  private struct Queue {
    let vring: DriverVring
    var slots: [Slot]
    var withDevice: [UInt16: Int] = [:]
    var wanted: UInt64 = 0
    var begun: UInt64 = 0
    var done: UInt64 = 0
    var failed: UInt64 = 0
    var different: UInt64 = 0
  }

  private static let blockLength = 4096
  private static let sectors = UInt64(blockLength / 512)

  /// Whose rings they go over.
  public let guest: DriverGuest
  private var queues: [Queue] = []

  /// Traffic over all vrings of a guest.
  ///
  /// - Parameter window: How many blocks of each vring are with the device at one time.
  /// - Throws: ``VDPAError`` `noResources`, when the guest's memory has less than ``bufferBytes(vrings:window:)`` left.
  public init(_ guest: DriverGuest, window: Int = 8) throws(VDPAError) {
    self.guest = guest
    for (index, vring) in guest.vrings.enumerated() {
      var slots: [Slot] = []
      for number in 0..<window {
        let data = try guest.memory.allocate(BlockTraffic.blockLength)
        let header = try guest.memory.allocate(BlockRequest.headerLength + 1, alignment: 32)
        slots.append(
          Slot(
            sector: UInt64(index * window + number) * BlockTraffic.sectors, header: header,
            status: header + UInt64(BlockRequest.headerLength), data: data))
      }
      queues.append(Queue(vring: vring, slots: slots))
    }
  }

  /// How much memory it takes, in bytes.
  public static func bufferBytes(vrings: Int, window: Int = 8) -> Int { vrings * window * 2 * blockLength }

  /// How much of the disk it overwrites, in bytes.
  public static func bytes(vrings: Int, window: Int = 8) -> Int { vrings * window * blockLength }

  /// Wants so many more blocks written and read on each vring.
  public func want(_ count: UInt64) {
    for i in queues.indices { queues[i].wanted += count }
  }

  /// One turn over all vrings.
  @discardableResult
  public func step() throws(VringFault) -> Bool {
    var hasMoved = false
    for i in queues.indices {
      while let (id, _) = try queues[i].vring.collect() {
        if let slot = queues[i].withDevice.removeValue(forKey: id) { finish(slot, &queues[i]) }
        hasMoved = true
      }
      if begin(&queues[i]) { hasMoved = true }
    }
    return hasMoved
  }

  private func begin(_ queue: inout Queue) -> Bool {
    var hasBegun = false
    for i in queue.slots.indices {
      switch queue.slots[i].phase {
      case .idle where queue.begun < queue.wanted:
        let number = queue.begun
        guest.memory.write(content(number, queue.slots[i]), at: queue.slots[i].data)
        guard submit(.write, i, &queue) else { continue }
        queue.begun += 1
        queue.slots[i].phase = .writing(number)
        hasBegun = true
      case .waiting(let number):
        // What is there afterwards comes from the disk.
        guest.memory.write([UInt8](repeating: 0, count: BlockTraffic.blockLength), at: queue.slots[i].data)
        guard submit(.read, i, &queue) else { continue }
        queue.slots[i].phase = .reading(number)
        hasBegun = true
      default: break
      }
    }
    if hasBegun { queue.vring.publish() }
    return hasBegun
  }

  private func submit(_ kind: BlockRequest.Kind, _ index: Int, _ queue: inout Queue) -> Bool {
    let slot = queue.slots[index]
    guest.memory.write(BlockRequest(kind, sector: slot.sector).encoded + [0xff], at: slot.header)
    let header: DriverVring.Piece = (slot.header, BlockRequest.headerLength)
    let data: DriverVring.Piece = (slot.data, BlockTraffic.blockLength)
    let status: DriverVring.Piece = (slot.status, 1)
    guard
      let id = kind == .write
        ? queue.vring.add(readable: [header, data], writable: [status])
        : queue.vring.add(readable: [header], writable: [data, status])
    else { return false }
    queue.withDevice[id] = index
    return true
  }

  private func finish(_ index: Int, _ queue: inout Queue) {
    let slot = queue.slots[index]
    let isDone = guest.memory.read(slot.status, count: 1)[0] == BlockStatus.ok.rawValue
    switch slot.phase {
    case .writing(let number) where isDone: queue.slots[index].phase = .waiting(number)
    case .reading(let number) where isDone:
      if guest.memory.read(slot.data, count: BlockTraffic.blockLength) != content(number, slot) { queue.different += 1 }
      queue.done += 1
      queue.slots[index].phase = .idle
    default:
      queue.failed += 1
      queue.done += 1
      queue.slots[index].phase = .idle
    }
  }

  /// What a block has that no other number and no other place has.
  private func content(_ number: UInt64, _ slot: Slot) -> [UInt8] {
    let packet = NumberedPacket(pair: 0, number: number, time: slot.sector, length: BlockTraffic.blockLength)
    return packet.encoded
  }

  /// Whether all that is wanted has been written and read.
  public var isComplete: Bool { queues.allSatisfy { $0.done == $0.wanted } }

  /// What is wrong with the blocks that were read.
  public var problem: String? {
    let wrong = queues.enumerated().flatMap { index, queue in
      [("failed", queue.failed), ("read otherwise than written", queue.different)].filter { $0.1 > 0 }.map {
        "\($0.1) \($0.0) on vring \(index)"
      }
    }
    return wrong.isEmpty ? nil : "blocks are wrong: \(wrong.joined(separator: ", "))"
  }

  /// `vring 0: 20 of 100 blocks done, …`.
  public var progress: String {
    queues.enumerated().map { "vring \($0): \($1.done) of \($1.wanted) blocks done" }.joined(separator: ", ")
  }
}
