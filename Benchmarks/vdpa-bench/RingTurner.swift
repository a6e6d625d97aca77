import CLinux
import Glibc
import Synchronization
import VDPA
import VhostUser
import Virtio

/// A driver that costs nearly nothing, so that its back-end is the slower one: the buffers of a split ring are written once,
/// each a packet, and whatever comes back is made available again by one store a burst.
///
/// It relies on a back-end that returns buffers in order, as the net ports do.
final class RingTurner: Sendable {
  /// One of the rings that are turned.
  private struct Ring {
    let area: SplitRingArea
    let kick: OwnedFD
    var published: UInt16
    var counted: UInt16 = 0
  }

  // Copied by the one thread that turns them, and used by nobody else.
  nonisolated(unsafe) private let rings: [Ring]
  private let cpu: Int
  private let isStopping = Atomic<Bool>(false)
  private let total = Atomic<UInt64>(0)
  private let thread = Mutex<PinnedThread?>(nil)

  /// Turns the transmit rings of some pairs, and with them their receive rings.
  ///
  /// - Parameters:
  ///   - guest: With split rings, started and empty; it has to live until this has ended.
  ///   - pairs: Which pairs.
  ///   - length: The frames' in bytes.
  ///   - cpu: Where the driver runs.
  init(_ guest: FrontendGuest, pairs: Range<Int>, length: Int, cpu: Int) throws {
    let header = NetHeader.length(for: guest.features)
    var rings: [Ring] = []
    for pair in pairs {
      // Transmit rings first: they are those that are counted.
      for index in [2 * pair + 1, 2 * pair] {
        let vring = guest.vrings[index]
        let isReceive = index == 2 * pair
        guard case .split(let area) = vring.driver.memory else { continue }
        for i in 0..<area.size {
          let address = try guest.memory.allocate(2048, alignment: 2048)
          if !isReceive { guest.memory.write(RingTurner.packet(header: header, length: length), at: address) }
          area.setDescriptor(
            i,
            RingDescriptor(
              address: address, length: UInt32(isReceive ? 2048 : header + length),
              flags: isReceive ? RingDescriptor.write : 0))
          area.setHead(at: UInt16(i), UInt16(i))
        }
        rings.append(Ring(area: area, kick: vring.kick, published: 0))
      }
    }
    unsafe self.rings = rings
    self.cpu = cpu
  }

  /// A broadcast of the protocol for local experiments (IEEE 802, EtherType 0x88B5).
  private static func packet(header: Int, length: Int) -> [UInt8] {
    let start: [UInt8] = Array(repeating: 0xff, count: 6) + [0x02, 0, 0, 0, 0, 1, 0x88, 0xb5]
    return Array(repeating: 0, count: header) + start + Array(repeating: 0x5a, count: length - start.count)
  }

  /// How much memory the buffers of a pair take, in bytes.
  static func bufferBytes(ringSize: Int) -> Int { 2 * ringSize * 2048 }

  /// Packets that were sent on all of its pairs so far.
  var packets: UInt64 { total.load(ordering: .relaxed) }

  /// Begins, with all rings full.
  ///
  /// - Parameter limit: After how many packets, or a few more, nothing is made available any more.
  func start(limit: UInt64 = .max) throws {
    let started = try PinnedThread(name: "ring-turner", cpus: [cpu]) { [self] in run(limit) }
    thread.withLock { $0 = started }
  }

  /// Ends it; what the back-end has stays with it.
  func stop() {
    isStopping.store(true, ordering: .relaxed)
    thread.withLock { $0 }?.join()
  }

  private func run(_ limit: UInt64) {
    var rings = unsafe rings
    var packets: UInt64 = 0
    while !isStopping.load(ordering: .relaxed) {
      for i in rings.indices {
        let area = rings[i].area
        let used = area.usedIndex
        if i.isMultiple(of: 2) {
          packets &+= UInt64(used &- rings[i].counted)
          rings[i].counted = used
          total.store(packets, ordering: .relaxed)
        }
        let available = used &+ UInt16(area.size)
        guard available != rings[i].published, packets < limit else { continue }
        area.publishAvailIndex(available)
        rings[i].published = available
        clinux_fence()
        if area.usedFlags & SplitRingArea.noNotify == 0 { EventFD.signal(rings[i].kick) }
      }
    }
  }
}
