internal import CLinux

/// Where packets that are taken one after the other go.
protocol PacketPlaces {
  /// Whether there is a place.
  var hasPlace: Bool { get }
  /// The next payload's place in the arena, in cache lines.
  var line: UInt32 { get }
  /// Takes it, for a packet of so many bytes with its header.
  mutating func advance(headerLength: Int, length: Int)
  /// Has the burst go on from here.
  func keep(in burst: PacketBurst)
}

/// Places in a burst's own arena: one behind the other.
struct ArenaPlaces: PacketPlaces {
  var line: UInt32
  let limit: UInt32

  @inline(__always) var hasPlace: Bool { line <= limit }
  @inline(__always) mutating func advance(headerLength: Int, length: Int) {
    // A line for the next header.
    line &+= UInt32(truncatingIfNeeded: (length &- headerLength &+ 63) &>> 6) &+ 1
  }
  @inline(__always) func keep(in burst: PacketBurst) {
    let next = Int(line) &* PacketPool.line
    // Behind the last packet is the room for a header that finds no place any more.
    precondition(next <= burst.arenaLength + PacketBurst.lead)
    unsafe burst.state.pointee.next = next
  }
}

/// Places in a pool: its buffers that are in reserve, the last one first.
@safe struct PooledPlaces: PacketPlaces {
  let reserve: UnsafeMutablePointer<UInt32>
  var reserved: Int

  @inline(__always) var hasPlace: Bool { reserved > 0 }
  @inline(__always) var line: UInt32 { unsafe reserve[reserved &- 1] }
  @inline(__always) mutating func advance(headerLength: Int, length: Int) { reserved &-= 1 }
  @inline(__always) func keep(in burst: PacketBurst) { burst.keepPlaces(reserved) }
}

extension PacketBurst {
  /// Packets that are looked up one after the other and copied together.
  @safe struct Run {
    /// The most packets that it can have.
    let most: Int
    private let slots: UnsafeMutablePointer<Slot>

    fileprivate init(_ burst: PacketBurst, first: Int, most: Int) {
      precondition(first >= 0 && most >= 0 && most <= PacketBurst.capacity &- first)
      self.most = most
      unsafe slots = burst.slots + first
    }

    @inline(__always) subscript(index: Int) -> Slot {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: most))
      return unsafe slots[index]
    }

    /// Notes a packet, with where in guest memory it is.
    @inline(__always) func set(_ index: Int, _ slot: Slot) {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: most))
      unsafe slots[index] = slot
    }

    /// Notes where in guest memory a packet goes, all of it.
    @unsafe @inline(__always) func deliver(_ index: Int, to host: UnsafeMutableRawPointer, headerLength: Int) {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: most))
      unsafe slots[index].setDelivered(headerLength: headerLength, to: host)
    }
  }

  /// Packets from number `first` on; there are so many, or will be.
  @inline(__always) func beginRun(first: Int, most: Int) -> Run { Run(self, first: first, most: most) }

  /// Packets that are in the burst, to be looked at.
  @inline(__always) func packets(from first: Int, count: Int) -> Run {
    precondition(first >= 0 && count >= 0 && first <= self.count &- count)
    return Run(self, first: first, most: count)
  }

  var arenaPlaces: ArenaPlaces {
    ArenaPlaces(
      line: UInt32(truncatingIfNeeded: unsafe state.pointee.next &>> 6),
      limit: UInt32((PacketBurst.arenaBytes - PacketBurst.maxLength) / PacketPool.line))
  }

  var pooledPlaces: PooledPlaces { unsafe PooledPlaces(reserve: reserve, reserved: state.pointee.reserved) }

  /// Copies what was noted in a run; it is then in the burst.
  @inline(__always) func take(_ taken: Int, _ places: some PacketPlaces, headerLength: Int, keepsHeaders: Bool) {
    guard taken > 0 else { return }
    let first = count
    precondition(taken <= PacketBurst.capacity &- first && headerLength <= NetHeader.modernLength)
    unsafe clinux_take_packets(arena, slots + first, taken, headerLength, keepsHeaders)
    count = first &+ taken
    places.keep(in: self)
  }

  /// Copies packets to where a run has noted that they go.
  @inline(__always) func give(first: Int, count: Int, headerLength: Int) {
    unsafe clinux_give_packets(arena, slots + first, count, headerLength)
  }
}
