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
    // A line more for the next header.
    line &+= UInt32(truncatingIfNeeded: (length &- headerLength &+ 127) &>> 6)
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

    @unsafe fileprivate init(_ slots: UnsafeMutablePointer<Slot>, _ most: Int) {
      self.most = most
      unsafe self.slots = slots
    }

    /// The first ones of it.
    @inline(__always) func prefix(_ count: Int) -> Run {
      precondition(count >= 0 && count <= most)
      return unsafe Run(slots, count)
    }

    /// What is behind the first ones.
    @inline(__always) func dropFirst(_ count: Int) -> Run {
      precondition(count >= 0 && count <= most)
      return unsafe Run(slots + count, most &- count)
    }

    @inline(__always) subscript(index: Int) -> Slot {
      @inline(__always) get {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: most))
        return unsafe slots[index]
      }
      @inline(__always) nonmutating _modify {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: most))
        yield unsafe &slots[index]
      }
    }
  }

  /// Packets from number `first` on; there are so many, or will be.
  @inline(__always) func beginRun(first: Int, most: Int) -> Run {
    precondition(first >= 0 && most >= 0 && most <= PacketBurst.capacity &- first)
    return unsafe Run(slots + first, most)
  }

  /// Packets that are in the burst, to be looked at.
  @inline(__always) func packets(from first: Int, count: Int) -> Run {
    // A burst never has more than its capacity.
    precondition(first >= 0 && count >= 0 && first <= self.count &- count)
    return unsafe Run(slots + first, count)
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
