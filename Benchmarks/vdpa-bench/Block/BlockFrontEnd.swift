import CLinux
import Glibc
import Peers
import VDPA
import VhostUser
import Virtio

/// A front-end of a block device that keeps a number of requests under way, one split ring with a chain of three
/// descriptors for each, and costs as little as it can: the descriptors are written once, and of a request only its
/// first sector, its place in the available ring and its status byte are touched.
@safe final class BlockFrontEnd {
  /// What was done in a run.
  struct Outcome: Sendable {
    let requests: Int
    let nanoseconds: UInt64
    /// How often the device was kicked, and has called.
    let kicks: Int
    let calls: Int

    var perSecond: Double { Double(requests) * 1e9 / Double(max(nanoseconds, 1)) }
  }

  private let frontend: Frontend
  private let memory: DriverMemory
  private let vring: DriverVring
  private let area: SplitRingArea
  private let load: BlockLoad
  // Headers of 16 bytes and statuses of one, by request; in memory that this object keeps.
  private let headers: UnsafeMutableRawPointer
  private let statuses: UnsafeMutableRawPointer
  /// How many requests fit on the disk.
  private let places: Int
  private let sleeps: Bool
  private var place = 0
  private var random = SplitMix64(seed: 1)
  private var next: UInt16 = 0
  private var seen: UInt16 = 0
  private var kicks = 0
  private var calls = 0

  private static let descriptors = 3
  /// Longer than any request takes, in milliseconds.
  private static let patience: CInt = 10_000

  /// Connects to a back-end and starts a ring.
  ///
  /// - Parameters:
  ///   - sleeps: Whether it waits for calls when nothing has come back; if not, it looks again and wants no calls.
  init(socket: String, load: BlockLoad, sleeps: Bool) throws {
    self.load = load
    self.sleeps = sleeps
    var size = 128
    while size < load.depth * BlockFrontEnd.descriptors { size *= 2 }
    frontend = Frontend(try FrontendConnection(path: socket))
    try frontend.negotiate([.version1, .eventIndex, .blockFlush], required: [.version1, .eventIndex, .blockFlush])
    let bytes = try frontend.readConfiguration(count: 8)
    guard let disk = BlockConfiguration(decoding: bytes) else {
      throw PeerError(.badAnswer, "a configuration of \(bytes.count) bytes has no capacity")
    }
    places = Int(disk.capacity) * Int(BlockConfiguration.sectorSize) / load.length
    guard places > 0 else { throw PeerError(.invalidRun, "the disk is shorter than a request") }
    let memory = try DriverMemory(regionSizes: [1 << 20 + load.depth * (load.length + 64)])
    self.memory = memory
    vring = try DriverVring(index: 0, size: size, in: memory, features: frontend.features)
    guard case .split(let area) = vring.driver.memory else {
      throw PeerError(.invalidRun, "the ring is not a split one")
    }
    self.area = area
    let header = try memory.allocate(load.depth * BlockRequest.headerLength)
    let status = try memory.allocate(load.depth)
    let data = try memory.allocate(load.depth * load.length)
    var view = memory.memory.addressMap.view
    guard
      let headers = unsafe view.contiguous(at: header, length: load.depth * BlockRequest.headerLength, for: .write),
      let statuses = unsafe view.contiguous(at: status, length: load.depth, for: .write)
    else { throw PeerError(.invalidRun, "the requests' memory is not there") }
    unsafe self.headers = headers
    unsafe self.statuses = statuses
    let isRead = load.direction == .read
    for slot in 0..<load.depth {
      let first = slot * BlockFrontEnd.descriptors
      func write(_ offset: Int, _ address: UInt64, _ length: Int, _ flags: UInt16) {
        area.setDescriptor(
          first + offset,
          RingDescriptor(address: address, length: UInt32(length), flags: flags, link: UInt16(first + offset + 1)))
      }
      write(0, header + UInt64(slot * BlockRequest.headerLength), BlockRequest.headerLength, RingDescriptor.next)
      write(
        1, data + UInt64(slot * load.length), load.length, RingDescriptor.next | (isRead ? RingDescriptor.write : 0))
      write(2, status + UInt64(slot), 1, RingDescriptor.write)
      memory.write(
        BlockRequest(isRead ? .read : .write).encoded, at: header + UInt64(slot * BlockRequest.headerLength))
    }
    // A position that lies behind: no calls until they are asked for.
    area.setUsedEvent(.max)
    try frontend.share(memory.regions)
    try frontend.start(vring.description)
    try frontend.setStatus([.acknowledge, .driver, .featuresOK, .driverOK])
  }

  /// Keeps the requests under way for as long as that, and waits for the last of them.
  ///
  /// - Throws: ``PeerError`` `badAnswer`, for a request that fails or does not come back.
  func run(seconds: Double) throws -> Outcome {
    (kicks, calls) = (0, 0)
    let start = MonotonicClock.nanoseconds
    let end = start + UInt64(seconds * 1e9)
    var done = 0
    var isEnding = false
    for slot in 0..<load.depth { submit(slot) }
    publish(load.depth)
    var underWay = load.depth
    var now = start
    while underWay > 0 {
      let used = area.usedIndex
      guard used != seen else {
        try pause()
        continue
      }
      var resubmitted = 0
      while seen != used {
        let slot = try collect()
        done += 1
        underWay -= 1
        guard !isEnding else { continue }
        submit(slot)
        resubmitted += 1
      }
      underWay += resubmitted
      if resubmitted > 0 { publish(resubmitted) }
      now = MonotonicClock.nanoseconds
      isEnding = now >= end
    }
    return Outcome(requests: done, nanoseconds: now - start, kicks: kicks, calls: calls)
  }

  /// Stops the ring.
  func stop() throws { _ = try frontend.stop(vring: 0) }

  private func submit(_ slot: Int) {
    let sector = UInt64(place * load.length) / UInt64(BlockConfiguration.sectorSize)
    switch load.order {
    case .sequential: place = place + 1 == places ? 0 : place + 1
    case .random: place = Int(random.next() % UInt64(places))
    }
    // A slot that is there.
    unsafe clinux_store_u64(headers + slot * BlockRequest.headerLength + 8, sector)
    unsafe clinux_store_u8(statuses + slot, .max)
    area.setHead(at: next, UInt16(slot * BlockFrontEnd.descriptors))
    next &+= 1
  }

  private func publish(_ count: Int) {
    area.publishAvailIndex(next)
    clinux_fence()
    guard SplitRingArea.passed(area.availEvent, next: next, count: count) else { return }
    kicks += 1
    EventFD.signal(vring.kick)
  }

  /// Takes a request back that has been used; which.
  private func collect() throws -> Int {
    let entry = area.usedEntry(seen)
    seen &+= 1
    let (slot, rest) = Int(entry.id).quotientAndRemainder(dividingBy: BlockFrontEnd.descriptors)
    guard rest == 0, slot < load.depth else {
      throw PeerError(.badAnswer, "the device returned the chain \(entry.id), of which there is none")
    }
    let status = unsafe clinux_load_u8(statuses + slot)
    guard status == BlockStatus.ok.rawValue else {
      throw PeerError(.badAnswer, "a \(load.direction) ended with the status \(status)")
    }
    return slot
  }

  /// Nothing has come back.
  private func pause() throws {
    guard sleeps else {
      clinux_pause()
      return
    }
    area.setUsedEvent(seen)
    clinux_fence()
    if area.usedIndex == seen {
      var entry = pollfd(fd: vring.call.rawValue, events: Int16(POLLIN), revents: 0)
      guard unsafe poll(&entry, 1, BlockFrontEnd.patience) == 1 else {
        throw PeerError(.timeout, "no request came back for \(BlockFrontEnd.patience / 1000) s")
      }
    }
    area.setUsedEvent(seen &- 1)
    calls += vring.takeCalls() > 0 ? 1 : 0
  }
}
