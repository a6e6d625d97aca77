import CLinux
import SystemPackage
import VDPA
import Virtio

/// The guest's side of one vring: the ring, its descriptors and buffers of one size.
final class TestVring {
  let index: Int
  let size: Int
  let descriptor: UInt64
  let avail: UInt64
  let used: UInt64
  var driver: DriverRing
  var kick: OwnedFD?
  var call: OwnedFD?
  /// Where the device starts.
  var state: VringState
  /// The heads that came back, in the order in which the device returned them.
  private(set) var returned: [UInt16] = []
  private let guest: TestGuest
  private let bufferSize: Int
  private var free: [UInt64]
  private var addresses: [UInt16: UInt64] = [:]

  init(
    _ guest: TestGuest, index: Int, size: Int = 64, bufferSize: Int = 2048, region: Int = 0, bufferRegion: Int? = nil,
    features: Features = []
  ) throws {
    self.guest = guest
    self.index = index
    self.size = size
    self.bufferSize = bufferSize
    let layout = try RingLayout(RingLayout.Format(for: features), size: size)
    descriptor = guest.allocate(layout.descriptorBytes, region: region)
    avail = guest.allocate(layout.availBytes, region: region)
    used = guest.allocate(layout.usedBytes, region: region)
    let memory = try RingMemory(layout, descriptor: descriptor, avail: avail, used: used, memory: guest.view)
    driver = DriverRing(memory, features: features)
    kick = try EventFD.make()
    call = try EventFD.make()
    state = VringState(index: index, nextAvail: memory.start, nextUsed: memory.start)
    let first = guest.allocate(size * bufferSize, region: bufferRegion ?? region)
    free = (0..<size).map { first + UInt64($0 * bufferSize) }
  }

  /// The ring's memory, for tests that write there what no driver writes.
  var area: SplitRingArea {
    guard case .split(let area) = driver.memory else { preconditionFailure("the test's ring is packed") }
    return area
  }

  var description: VringDescription {
    VringDescription(
      index: index, size: size, descriptor: descriptor, avail: avail, used: used, state: state, kick: kick, call: call)
  }

  func vring(enabled: Bool = true) -> DeviceSetup.Vring { DeviceSetup.Vring(description, isEnabled: enabled) }

  /// Makes a buffer available that the device reads: header and payload in one. False when the ring is full.
  func add(_ packet: [UInt8]) -> Bool {
    precondition(packet.count <= bufferSize)
    guard let address = free.popLast() else { return false }
    guest.write(packet, at: address)
    return add(address, packet.count, isWritable: false)
  }

  /// Makes an empty buffer available.
  func addEmpty() -> Bool {
    guard let address = free.popLast() else { return false }
    return add(address, bufferSize, isWritable: true)
  }

  private func add(_ address: UInt64, _ length: Int, isWritable: Bool) -> Bool {
    let piece = DriverRing.Piece(address: address, length: UInt32(length), isWritable: isWritable)
    guard let head = driver.add([piece]) else {
      free.append(address)
      return false
    }
    addresses[head] = address
    return true
  }

  /// Announces what was added and kicks the device if it wants that.
  func publish() {
    if driver.publish(), let kick { EventFD.signal(kick) }
  }

  /// The next buffer that the device is done with: what it wrote there.
  func collect() throws -> [UInt8]? {
    guard let (head, length) = try driver.collect() else { return nil }
    guard let address = addresses.removeValue(forKey: head) else { throw DriverRing.DeviceFault.unknownHead(0) }
    free.append(address)
    returned.append(head)
    return guest.read(address, Int(length))
  }
}
