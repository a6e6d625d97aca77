import CLinux
import Glibc
import MemoryTestSupport
import Synchronization
import SystemPackage
import VDPA
import Virtio

@testable import Datapath

/// A guest with one queue pair in a memfd, whose packets have numbers: what was sent once comes back once, in order, or
/// ``fault`` says otherwise. Its two rings and the driver are its own; devices get snapshots of its memory.
final class NumberedGuest {
  static let size = 64
  static let bufferLength: UInt32 = 256
  private static let base: UInt64 = 0x10_0000
  private static let ringBytes: UInt64 = 0x1_0000

  let features: Features
  /// Whether the used rings (packed: the device areas) are noted in dirty logs.
  var isLogged = false
  private let file: OwnedFD
  private let memory: GuestMemory
  private var drivers: [DriverRing] = []
  private var posted = [0, 0]
  private var collected = [0, 0]
  /// What the driver kicks; it is exchanged while the driver runs.
  private let kicks: Mutex<[OwnedFD]>

  /// How many packets were sent, were returned by the device as sent, and have come back.
  private(set) var sent = 0
  private(set) var returned = 0
  private(set) var received = 0
  /// What went wrong first.
  private(set) var fault: String?

  init(features: Features = [.version1, .netMergeableBuffers]) throws {
    self.features = features
    let descriptor = unsafe clinux_memfd("numbered")
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    file = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    guard ftruncate(file.rawValue, off_t(2 * NumberedGuest.ringBytes)) == 0 else { throw Errno(rawValue: errno) }
    memory = try NumberedGuest.map(file)
    kicks = Mutex([try EventFD.make(), try EventFD.make()])
    for index in 0..<2 {
      drivers.append(DriverRing(try NumberedGuest.ring(index, features, memory), features: features))
    }
  }

  private static func map(_ file: OwnedFD) throws -> GuestMemory {
    try GuestMemory.table([
      (try MemoryRegion(guestAddress: base, size: 2 * ringBytes, userAddress: 0, fileOffset: 0), file.descriptor)
    ])
  }

  private static func addresses(_ index: Int) -> (descriptor: UInt64, avail: UInt64, used: UInt64, buffers: UInt64) {
    let start = base + UInt64(index) * ringBytes
    return (start, start + 0x1000, start + 0x2000, start + 0x4000)
  }

  private static func ring(_ index: Int, _ features: Features, _ memory: GuestMemory) throws -> RingMemory {
    let places = addresses(index)
    return try RingMemory(
      RingLayout(RingLayout.Format(for: features), size: size), descriptor: places.descriptor, avail: places.avail,
      used: places.used, memory: memory.addressMap.view)
  }

  // MARK: What the front-end says

  /// Takes all of the memory away.
  func truncate() { _ = ftruncate(file.rawValue, 0) }

  /// The memory, mapped anew: nothing of it stays mapped when the last one who holds it lets go.
  func snapshot() throws -> GuestMemory { try NumberedGuest.map(file) }

  /// Where both sides of a ring begin.
  func start(_ index: Int) -> VringState {
    let start = drivers[index].memory.start
    return VringState(index: index, nextAvail: start, nextUsed: start)
  }

  /// The description of a ring that stands at `state`.
  func description(_ state: VringState, call: OwnedFD? = nil) -> VringDescription {
    let places = NumberedGuest.addresses(state.index)
    return VringDescription(
      index: state.index, size: NumberedGuest.size, descriptor: places.descriptor, avail: places.avail,
      used: places.used, state: state, kick: kicks.withLock { $0[state.index] }, call: call,
      logAddress: isLogged ? places.used : nil)
  }

  /// Behind the last byte of its memory.
  static let end = base + 2 * ringBytes

  /// What only the device writes: the device areas, and the buffers that it fills.
  static let devicePages =
    TestLog.pages(of: addresses(0).used, length: 4096).union(TestLog.pages(of: addresses(1).used, length: 4096))
    .union(TestLog.pages(of: addresses(0).buffers, length: size * Int(bufferLength)))

  /// Kicks by another descriptor from now on.
  func exchangeKick(_ index: Int) throws {
    let kick = try EventFD.make()
    kicks.withLock { kicks in
      // A kick that went to the old one just now may not have been seen.
      EventFD.signal(kick)
      kicks[index] = kick
    }
  }

  private func kick(_ index: Int) { kicks.withLock { _ = EventFD.signal($0[index]) } }

  // MARK: The driver

  private func buffer(_ ring: Int, _ number: Int) -> UInt64 {
    NumberedGuest.addresses(ring).buffers
      + UInt64(number % NumberedGuest.size) * UInt64(NumberedGuest.bufferLength)
  }

  /// Sends packets of which the payload begins with their number.
  ///
  /// - Parameters:
  ///   - count: How many.
  ///   - length: Their payload in bytes.
  ///   - links: In how many descriptors: a byte in each, and the rest in the last.
  func send(_ count: Int, length: Int = 64, links: Int = 1) {
    for _ in 0..<count {
      let address = buffer(1, posted[1])
      write(UInt64(sent), at: address + 12)
      let pieces = (0..<links).map { i in
        DriverRing.Piece(
          address: address + UInt64(i), length: i < links - 1 ? 1 : UInt32(12 + length - i), isWritable: false)
      }
      guard drivers[1].add(pieces) != nil else { break }
      posted[1] += 1
      sent += 1
    }
    if drivers[1].publish() { kick(1) }
  }

  /// Offers receive buffers.
  func offer(_ count: Int) {
    for _ in 0..<count {
      let address = buffer(0, posted[0])
      guard
        drivers[0].add([.init(address: address, length: NumberedGuest.bufferLength, isWritable: true)]) != nil
      else { break }
      posted[0] += 1
    }
    if drivers[0].publish() { kick(0) }
  }

  /// Takes back what the device is done with, and looks whether the numbers are the next ones.
  func collect() {
    do throws(DriverRing.DeviceFault) {
      while try drivers[1].collect() != nil { returned += 1 }
      while try drivers[0].collect() != nil {
        let number = read(buffer(0, collected[0]) + 12)
        if number != UInt64(received) { fault = fault ?? "packet \(number) came where \(received) was next" }
        collected[0] += 1
        received += 1
      }
    } catch {
      fault = fault ?? "the device did what it must not: \(error)"
    }
  }

  /// Announces more chains than a ring has descriptors, as no correct driver does.
  func breakRing(_ index: Int) {
    guard case .split(let area) = drivers[index].memory else { return }
    area.publishAvailIndex(UInt16(truncatingIfNeeded: posted[index] + NumberedGuest.size + 1))
  }

  /// How many of the receive buffers are with the device.
  var offered: Int { drivers[0].outstanding }

  /// How many of the packets sent are still with the device.
  var sending: Int { drivers[1].outstanding }

  private func write(_ number: UInt64, at address: UInt64) {
    var view = memory.addressMap.view
    // The memory is this object's own.
    if let host = unsafe view.contiguous(at: address, length: 8, for: .write) {
      unsafe host.storeBytes(of: number, as: UInt64.self)
    }
  }

  private func read(_ address: UInt64) -> UInt64 {
    var view = memory.addressMap.view
    guard let host = unsafe view.contiguous(at: address, length: 8, for: .read) else { return .max }
    return unsafe host.loadUnaligned(as: UInt64.self)
  }
}
