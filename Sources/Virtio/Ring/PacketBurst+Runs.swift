internal import CLinux

/// Where packets that are taken one after the other go.
protocol PacketPlaces {
  /// Whether there is a place for a packet of any length.
  var hasPlace: Bool { get }
  /// The next payload's place in the arena, in cache lines.
  var line: UInt32 { get }
  /// How many packets, and of how many bytes without their headers each, have places for sure, of so many that are wanted.
  func room(packets: Int, bytes: UInt) -> (packets: Int, bytes: UInt)
  /// Takes it, for a packet of so many bytes with its header.
  mutating func advance(headerLength: Int, length: Int)
  /// How far that has come, in one word.
  var progress: Int { get set }
  /// Has the burst go on from here.
  func keep(in burst: PacketBurst)
}

/// Places in a burst's own arena: one behind the other.
struct ArenaPlaces: PacketPlaces {
  /// In cache lines, like that behind which no packet may begin.
  var progress: Int
  let limit: Int

  @inline(__always) var hasPlace: Bool { progress <= limit }
  @inline(__always) var line: UInt32 { UInt32(truncatingIfNeeded: progress) }
  @inline(__always) func room(packets: Int, bytes: UInt) -> (packets: Int, bytes: UInt) {
    guard hasPlace else { return (0, 0) }
    // An equal part of the arena for each packet of a full burst, less the line for the next header.
    let part = (UInt(bitPattern: limit &- progress) / UInt(PacketBurst.capacity)) &* UInt(PacketPool.line)
    return (packets, min(bytes, part &- min(part, UInt(PacketPool.line))))
  }
  @inline(__always) mutating func advance(headerLength: Int, length: Int) {
    // A line more for the next header.
    progress &+= Int(UInt(bitPattern: length &- headerLength &+ 127) &>> 6)
  }
  @inline(__always) func keep(in burst: PacketBurst) {
    let next = progress &* PacketPool.line
    // Behind the last packet is the room for a header that finds no place any more.
    precondition(next <= burst.arenaLength + PacketBurst.lead)
    unsafe burst.state.pointee.next = next
  }
}

/// Places in a pool: its buffers that are in reserve, the last one first.
@safe struct PooledPlaces: PacketPlaces {
  let reserve: UnsafeMutablePointer<UInt32>
  /// How many there are.
  var progress: Int

  @inline(__always) var hasPlace: Bool { progress > 0 }
  @inline(__always) var line: UInt32 { unsafe reserve[progress &- 1] }
  @inline(__always) func room(packets: Int, bytes: UInt) -> (packets: Int, bytes: UInt) {
    (min(packets, progress), bytes)
  }
  @inline(__always) mutating func advance(headerLength: Int, length: Int) { progress &-= 1 }
  @inline(__always) func keep(in burst: PacketBurst) { burst.keepPlaces(progress) }
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
      progress: unsafe state.pointee.next &>> 6,
      limit: (PacketBurst.arenaBytes - PacketBurst.maxLength) / PacketPool.line)
  }

  var pooledPlaces: PooledPlaces { unsafe PooledPlaces(reserve: reserve, progress: state.pointee.reserved) }

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
