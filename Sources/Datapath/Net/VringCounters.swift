internal import CLinux
internal import VDPA
internal import Virtio

/// The counters of a vring: written by whoever owns the vring at the time, read by anybody.
@safe final class VringCounters: Sendable {
  enum Counter: Int, CaseIterable {
    case packets, bytes, multicast, broadcast
    case dropped, oversized, invalidHeaders, allocationFailures, broken
    case kicks, calls, suppressedCalls, failedCalls, translationMisses
  }

  // Behind the single counters, the classes of lengths and those of descriptor counts.
  private static var classes: Int { SIMD8<Int16>.scalarCount }
  private static var lengths: Int { Counter.translationMisses.rawValue + 1 }
  private static var links: Int { lengths + classes }
  private static var count: Int { links + classes }

  // Allocated once and freed with this object; every access is atomic.
  nonisolated(unsafe) private let values: UnsafeMutablePointer<UInt64>

  init() {
    unsafe values = .allocate(capacity: VringCounters.count)
    unsafe values.initialize(repeating: 0, count: VringCounters.count)
  }

  deinit {
    unsafe values.deallocate()
  }

  /// Counts up; by one thread at a time.
  @inline(__always) func add(_ counter: Counter, _ amount: Int) { add(amount, at: counter.rawValue) }

  @inline(__always) private func add(_ amount: Int, at index: Int) {
    let value = unsafe values + index
    unsafe clinux_store_u64(value, clinux_load_u64(value) &+ UInt64(truncatingIfNeeded: amount))
  }

  /// Counts numbers by their classes, of which most are empty.
  @inline(__always) private func add(_ classes: SIMD8<Int16>, of count: Int, at first: Int) {
    var left = count
    var i = 0
    while left > 0 && i < VringCounters.classes {
      let numbers = Int(classes[i])
      if numbers > 0 { add(numbers, at: first &+ i) }
      left &-= numbers
      i &+= 1
    }
  }

  /// Counts packets that were taken from the guest or given to it.
  func add(_ tally: PacketTally) {
    if tally.packets > 0 {
      add(.packets, tally.packets)
      add(.bytes, tally.bytes)
      if tally.multicast > 0 { add(.multicast, tally.multicast) }
      if tally.broadcast > 0 { add(.broadcast, tally.broadcast) }
      add(tally.lengthClasses, of: tally.packets, at: VringCounters.lengths)
      add(tally.linkClasses, of: tally.packets, at: VringCounters.links)
    }
    if tally.oversized > 0 {
      add(.oversized, tally.oversized)
      add(.dropped, tally.oversized)
    }
  }

  /// Counts a request that was served.
  ///
  /// - Parameters:
  ///   - bytes: How many were read and written.
  ///   - links: How many descriptors it had.
  func addRequest(bytes: Int, links: Int) {
    add(.packets, 1)
    add(.bytes, bytes)
    add(1, at: VringCounters.links &+ PacketTally.linkClass(of: links))
  }

  /// Counts a frame in the guest's name as one that the guest has sent.
  func addAnnouncement(_ frame: [UInt8]) {
    let burst = PacketBurst()
    burst.append(frame)
    add(burst.tallyTaken(first: 0, count: burst.count))
  }

  private func load(_ counter: Counter) -> UInt64 { unsafe clinux_load_u64(values + counter.rawValue) }

  private func load(_ first: Int, count: Int) -> [UInt64] {
    (first..<first + count).map { unsafe clinux_load_u64(values + $0) }
  }

  var snapshot: VringStatistics {
    var statistics = VringStatistics()
    statistics.packets = load(.packets)
    statistics.bytes = load(.bytes)
    statistics.multicastPackets = load(.multicast)
    statistics.broadcastPackets = load(.broadcast)
    statistics.dropped = load(.dropped)
    statistics.oversized = load(.oversized)
    statistics.invalidHeaders = load(.invalidHeaders)
    statistics.allocationFailures = load(.allocationFailures)
    statistics.broken = load(.broken)
    statistics.kicks = load(.kicks)
    statistics.calls = load(.calls)
    statistics.suppressedCalls = load(.suppressedCalls)
    statistics.failedCalls = load(.failedCalls)
    statistics.iotlbMisses = load(.translationMisses)
    statistics.setLengthClasses(load(VringCounters.lengths, count: VringCounters.classes))
    statistics.chainLengths = load(VringCounters.links, count: VringCounters.classes)
    return statistics
  }
}
