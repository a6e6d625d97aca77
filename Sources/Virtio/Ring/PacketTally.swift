/// What the packets of a burst are like: what a vring's statistics count of them, once a burst.
package struct PacketTally {
  /// How many packets went through, and their payload in bytes. What follows is said of these.
  package var packets = 0
  package var bytes = 0
  /// How many of them go to a group of stations, all of them excepted, and how many to all.
  package var multicast = 0
  package var broadcast = 0
  /// How many others were too long to be copied, or for all the buffers that the guest gives.
  package var oversized = 0
  /// How many have a payload of less than 64 bytes, of 64, up to 127, 255, 511, 1023 and 1518, and a longer one.
  package var lengthClasses = SIMD8<Int16>()
  /// How many had one descriptor, two, up to 4, 8, 16, 32 and 64, and more.
  package var linkClasses = SIMD8<Int16>()

  /// The class of a count of descriptors.
  package static func linkClass(of count: Int) -> Int {
    min(Int.bitWidth - max(count - 1, 0).leadingZeroBitCount, SIMD8<Int16>.scalarCount - 1)
  }
}

/// Sorts numbers into eight classes: one comparison with all borders at once a number.
private struct Histogram {
  private let borders: SIMD8<Int16>
  /// How many numbers lie above each border.
  private var above = SIMD8<Int16>()

  /// - Parameter borders: The greatest number of each class, ascending; the last is above all numbers.
  @inline(__always) init(_ borders: SIMD8<Int16>) { self.borders = borders }

  @inline(__always) mutating func count(_ number: Int) {
    let number = SIMD8<Int16>(repeating: Int16(truncatingIfNeeded: min(number, Int(Int16.max))))
    // True is −1 in each element.
    above &-= SIMD8(number .> borders)
  }

  /// How many numbers of `count` there are in each class.
  @inline(__always) func classes(of count: Int) -> SIMD8<Int16> {
    var atLeast = SIMD8<Int16>()
    atLeast[0] = Int16(truncatingIfNeeded: count)
    for i in 1..<8 { atLeast[i] = above[i &- 1] }
    return atLeast &- above
  }
}

extension SIMD8<Int16> {
  /// The elements of a mask: −1 where it holds, 0 where not.
  @inline(__always) fileprivate init(_ mask: SIMDMask<SIMD8<Int16>>) {
    // A mask is made of nothing but these integers.
    self = unsafe unsafeBitCast(mask, to: SIMD8<Int16>.self)
  }
}

extension PacketBurst {
  /// Looks at packets that were taken from a guest, whatever has become of them since.
  ///
  /// - Parameters:
  ///   - first: The first packet.
  ///   - count: How many.
  package func tallyTaken(first: Int, count: Int) -> PacketTally { tally(first, count, isGiven: false) }

  /// Looks at the first `count` packets, which were given to a guest, as far as they fit; those that were never copied are
  /// passed over.
  package func tallyGiven(count: Int) -> PacketTally { tally(0, count, isGiven: true) }

  @inline(__always) private func tally(_ first: Int, _ count: Int, isGiven: Bool) -> PacketTally {
    precondition(first >= 0 && count >= 0 && first <= self.count - count)
    let headerLength = unsafe state.pointee.headerLength
    var tally = PacketTally()
    var lengths = Histogram(SIMD8(63, 64, 127, 255, 511, 1023, 1518, .max))
    var links = Histogram(SIMD8(1, 2, 4, 8, 16, 32, 64, .max))
    var passedOver = 0
    for i in first..<first &+ count {
      let slot = unsafe slots[i]
      if slot.outcome == .oversized || slot.outcome == .invalid || isGiven && slot.outcome == .undeliverable {
        passedOver &+= 1
        if slot.outcome == (isGiven ? .undeliverable : .oversized) { tally.oversized &+= 1 }
        continue
      }
      let length = slot.length &- headerLength
      tally.bytes &+= length
      lengths.count(length)
      let link = isGiven ? slot.targetLinks : slot.links
      if link > 1 { links.count(Int(link)) }
      // The first bit on the wire says that an address is of a group (IEEE 802.3, 3.2.3).
      let address = unsafe arena + slot.start + headerLength
      if unsafe address.load(as: UInt8.self) & 1 != 0, length >= 6 {
        let start = unsafe address.loadUnaligned(as: UInt32.self)
        let end = unsafe address.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
        if start == .max && end == .max { tally.broadcast &+= 1 } else { tally.multicast &+= 1 }
      }
    }
    tally.packets = count &- passedOver
    tally.lengthClasses = lengths.classes(of: tally.packets)
    tally.linkClasses = links.classes(of: tally.packets)
    return tally
  }
}
