internal import Synchronization
public import Virtio

/// What a simulated device can reach of memory, by address: nothing but what was mapped, and only as it was mapped.
///
/// A change makes a new immutable table. The device's thread makes the changes itself, between two bursts, so a range
/// that was unmapped is no longer in use when the change is done; others may look at the map at any time.
public final class DMAMap: Sendable {
  private let current = Mutex<AddressMap>(.empty)
  private let refused = Atomic<UInt64>(0)

  init() {}

  /// The ranges that are mapped, by ascending address.
  public var ranges: [AddressMap.Range] { addressMap.ranges }

  /// How many accesses outside of the map, or against a range's permission, the device has been refused.
  public var refusedAccesses: UInt64 { refused.load(ordering: .relaxed) }

  /// The table for a burst. Whoever uses its view holds it meanwhile.
  var addressMap: AddressMap { current.withLock { $0 } }

  func noteRefusedAccess() {
    refused.wrappingAdd(1, ordering: .relaxed)
  }

  /// Makes memory reachable.
  ///
  /// - Throws: ``SimulatorError`` `rangeOverlaps`, when one of its addresses is mapped already.
  func map(_ range: AddressMap.Range) throws(SimulatorError) {
    let old = addressMap
    // Built anew from what is there, so that nothing is replaced unless all of it is right.
    guard let new = try? AddressMap(ranges: old.ranges + [range]) else {
      let other = old.ranges.first { $0.start - min($0.start, range.start) < range.size && range.start < $0.end }
      throw SimulatorError(
        .rangeOverlaps,
        "\(range.name) cannot be mapped: it overlaps with \(other?.name ?? "another range"), which is mapped; unmap that "
          + "first")
    }
    current.withLock { $0 = new }
  }

  /// Makes memory unreachable.
  ///
  /// - Throws: ``SimulatorError`` `noSuchRange`, unless a range was mapped with that start and that size.
  func unmap(start: UInt64, size: UInt64) throws(SimulatorError) {
    let old = addressMap
    let rest = old.ranges.filter { $0.start != start || $0.size != size }
    guard rest.count < old.ranges.count, let new = try? AddressMap(ranges: rest) else {
      throw SimulatorError(
        .noSuchRange,
        "0x\(String(start, radix: 16))+0x\(String(size, radix: 16)) cannot be unmapped: no range was mapped with that "
          + "start and that size")
    }
    current.withLock { $0 = new }
  }

  /// Makes all memory unreachable.
  func unmapAll() {
    current.withLock { $0 = .empty }
  }
}

extension AddressMap.Range {
  /// The first address behind the range.
  fileprivate var end: UInt64 { start &+ size }

  /// `0x1000+0x2000`.
  var name: String { "0x\(String(start, radix: 16))+0x\(String(size, radix: 16))" }
}
