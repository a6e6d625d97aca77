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

/// How many packets of a burst are in each of eight classes: a byte for each, which is enough for a burst.
private struct ClassCounts {
  private var counts: UInt64 = 0

  /// One in a class.
  static func one(in index: Int) -> UInt64 { 1 << UInt64(index * 8) }

  @inline(__always) mutating func add(_ one: UInt64) { counts &+= one }

  var classes: SIMD8<Int16> {
    SIMD8<Int16>(truncatingIfNeeded: unsafe unsafeBitCast(counts.littleEndian, to: SIMD8<UInt8>.self))
  }
}

/// What is added for a packet of a length: one look for each.
@safe private struct LengthOnes {
  /// All that are longer are in one class with it.
  private static let longest = 1519
  // Written once, before anybody has it.
  nonisolated(unsafe) private static let table: UnsafePointer<UInt64> = {
    let table = UnsafeMutablePointer<UInt64>.allocate(capacity: longest + 1)
    for length in 0...longest {
      let borders = [63, 64, 127, 255, 511, 1023, 1518]
      unsafe (table + length).initialize(to: ClassCounts.one(in: borders.count { $0 < length }))
    }
    return unsafe UnsafePointer(table)
  }()
  private let table = unsafe LengthOnes.table

  @inline(__always) subscript(length: Int) -> UInt64 {
    unsafe table[Int(min(UInt(bitPattern: length), UInt(LengthOnes.longest)))]
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
    let packets = packets(from: first, count: count)
    let headerLength = unsafe state.pointee.headerLength
    let (arena, ones) = unsafe (arena, LengthOnes())
    var tally = PacketTally()
    var (lengths, links) = (ClassCounts(), ClassCounts())
    var (bytes, passedOver, chained) = (0, 0, 0)
    for i in 0..<packets.most {
      let slot = packets[i]
      if slot.fate >= UInt32(Outcome.undeliverable.rawValue) &<< 24 {
        let outcome = slot.outcome
        if outcome != .undeliverable || isGiven {
          passedOver &+= 1
          if outcome == (isGiven ? .undeliverable : .oversized) { tally.oversized &+= 1 }
          continue
        }
      }
      let length = slot.length &- headerLength
      bytes &+= length
      lengths.add(ones[length])
      let link = isGiven ? slot.targetLinks : slot.links
      if link > 1 {
        chained &+= 1
        links.add(ClassCounts.one(in: PacketTally.linkClass(of: Int(link))))
      }
      // The first bit on the wire says that an address is of a group (IEEE 802.3, 3.2.3).
      let address = unsafe arena + slot.payload
      if unsafe address.load(as: UInt8.self) & 1 != 0, length >= 6 {
        let start = unsafe address.loadUnaligned(as: UInt32.self)
        let end = unsafe address.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
        if start == .max && end == .max { tally.broadcast &+= 1 } else { tally.multicast &+= 1 }
      }
    }
    tally.bytes = bytes
    tally.packets = count &- passedOver
    tally.lengthClasses = lengths.classes
    tally.linkClasses = links.classes
    tally.linkClasses[0] = Int16(truncatingIfNeeded: tally.packets &- chained)
    return tally
  }
}
