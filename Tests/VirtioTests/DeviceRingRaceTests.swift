import CLinux
import Foundation
import Synchronization
import Testing

@testable import Virtio

/// A guest that rewrites its rings at random while the device works on them.
@Suite struct SplitDeviceRingRaceTests {
  /// Tells the guest's thread to end.
  private final class Guest: Sendable {
    let stop = Atomic<Bool>(false)
  }

  /// Interesting addresses: the ends of all regions, the rings themselves, and what is not there.
  private static func address(_ random: inout SplitMix, _ places: [TestMemory.Place]) -> UInt64 {
    switch random.next() % 24 {
    case 0: random.next()
    case 1: random.next() % 0x5_0000
    case 2: UInt64.max &- random.next() % 64
    default:
      places[Int(random.next() % UInt64(places.count))].start
        &+ (random.next() % 4 == 0 ? random.next() % 4096 : random.next() % 64 &- 32)
        &+ (random.next() % 2 == 0 ? 4096 : 0)
    }
  }

  private static func length(_ random: inout SplitMix) -> UInt32 {
    switch random.next() % 8 {
    case 0: UInt32(truncatingIfNeeded: random.next())
    case 1: .max
    case 2: 0
    case 3: UInt32(random.next() % 70000)
    default: UInt32(random.next() % 64)
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64]) func hostileGuest(seed: UInt64) throws {
    let places: [TestMemory.Place] = [
      .init(start: 0x1_0000, size: 4096), .init(start: 0x1_1000, size: 4000), .init(start: 0x2_0000, size: 4096),
      .init(start: 0xffff_ffff_ffff_f000, size: 0xfff),
    ]
    let memory = try TestMemory(places)
    let ranges = memory.guest.addressMap.ranges
    // The third region may only be read: it must stay as it is.
    let map = try AddressMap(ranges: [ranges[0], ranges[1], ranges[2].limited(to: .read), ranges[3]])
    let image = memory.snapshot()
    let size = 16
    let transmit = RawRing(memory, at: 0x1_0000, size: size)
    let receive = RawRing(memory, at: 0x1_0400, size: size)
    let guest = Guest()

    var faults: Set<RingFault> = []
    var moved = 0
    let done = DispatchGroup()
    done.enter()
    // A thread of its own: a dispatch queue runs no more blocks than there are CPUs, and the tests have those.
    Thread.detachNewThread { @Sendable in
      defer { done.leave() }
      var random = SplitMix(seed: seed)
      while !guest.stop.load(ordering: .relaxed) {
        let ring = random.next() % 2 == 0 ? transmit : receive
        switch random.next() % 4 {
        case 0: ring.setHead(UInt16(random.next() % 16), UInt16(random.next() % (random.next() % 64 == 0 ? 18 : 16)))
        case 1: ring.setAvailIndex(UInt16(truncatingIfNeeded: random.next()))
        default:
          let wanted: UInt16 = ring.avail == receive.avail ? 2 : 0
          ring.setDescriptor(
            Int(random.next() % 16), address: Self.address(&random, places), length: Self.length(&random),
            flags: random.next() % 16 == 0
              ? UInt16(truncatingIfNeeded: random.next()) : wanted | UInt16(random.next() % 2),
            next: UInt16(random.next() % 17))
        }
      }
    }
    let burst = PacketBurst()
    // Many bursts, and until it came far enough to be worth something; the deadline is for a guest that never runs.
    let wanted: Set<RingFault> = [.none, .availableIndex, .unmapped, .chainLoop, .descriptorOrder]
    let deadline = clinux_monotonic_nanoseconds() + 120_000_000_000
    var rounds = 0
    while (rounds < 20_000 || moved < 100 || !faults.isSuperset(of: wanted))
      && clinux_monotonic_nanoseconds() < deadline
    {
      rounds += 1
      // As after a reset of the device by its driver, wherever the driver's index happens to be.
      let from = memory.value(transmit.avail + 2, as: UInt16.self) &- 8
      let to = memory.value(receive.avail + 2, as: UInt16.self) &- 16
      var source = DeviceRing(try transmit.area(map.view), features: [], nextAvail: from, nextUsed: from)
      var sink = DeviceRing(try receive.area(map.view), features: [], nextAvail: to, nextUsed: to)
      burst.clear()
      let taken = source.dequeueBurst(into: burst, limit: 32, memory: map.view, headerLength: 12)
      for i in 0..<taken where burst[i].length > PacketBurst.maxLength { Issue.record("packet too long") }
      moved += sink.enqueueBurst(from: burst, first: 0, memory: map.view, headerLength: 12, mergeable: seed % 2 == 1)
      source.complete(burst, first: 0, count: taken)
      faults.formUnion([source.fault, sink.fault])
    }
    guest.stop.store(true, ordering: .relaxed)
    done.wait()
    let now = memory.snapshot()
    for range in memory.canaries { #expect(now[range] == image[range], "canary \(range)") }
    let readOnly = Int(memory.regions[2].fileOffset)..<Int(memory.regions[2].fileOffset) + 4096
    #expect(now[readOnly] == image[readOnly])
    #expect(moved >= 100 && faults.isSuperset(of: wanted), "\(moved) packets, \(faults)")
    withExtendedLifetime(map) {}
  }
}
