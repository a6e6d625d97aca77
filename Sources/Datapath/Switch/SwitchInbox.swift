internal import Synchronization
internal import SystemPackage
internal import VDPA
internal import Virtio

/// Packets on their way to a queue pair: any worker puts them in, only the pair's own takes them out.
///
/// It is bounded, so that a guest which takes nothing costs the switch no more than that, and nobody else anything.
final class SwitchInbox: Sendable {
  /// The most packets.
  static let capacity = 256

  private struct State: ~Copyable, Sendable {
    var packets: PacketQueue
    var isOpen = false
    /// Whether the worker sleeps, or is about to.
    var isAsleep = false
  }

  /// Wakes the worker; watched edge-triggered and never read.
  let wakeup: OwnedFD
  private let state: Mutex<State>
  /// How many packets there are, to be looked at without the lock.
  private let waiting = Atomic<Int>(0)
  /// How many found no room, in all and since they were last asked for.
  private let allOverflowed = Atomic<Int>(0)
  private let newOverflowed = Atomic<Int>(0)

  init(_ pool: PacketPool) throws(Errno) {
    wakeup = try EventFD.make()
    state = Mutex(State(packets: PacketQueue(pool, capacity: SwitchInbox.capacity)))
  }

  // MARK: Whoever sends

  /// What has become of packets.
  enum Put {
    case done
    /// Nobody takes packets here.
    case closed
  }

  /// Takes packets out of a burst, in order. What finds no room is counted here and stays.
  func put(_ packets: NetTranslation.Packets, of burst: PacketBurst) -> Put {
    let (result, isToWake) = state.withLock { state -> (Put, Bool) in
      guard state.isOpen else { return (.closed, false) }
      let rest = state.packets.take(packets, of: burst)
      if rest != 0 {
        allOverflowed.add(rest.nonzeroBitCount, ordering: .relaxed)
        newOverflowed.add(rest.nonzeroBitCount, ordering: .relaxed)
      }
      waiting.store(state.packets.count, ordering: .relaxed)
      guard state.isAsleep else { return (.done, false) }
      state.isAsleep = false
      return (.done, true)
    }
    if isToWake { EventFD.signal(wakeup) }
    return result
  }

  // MARK: The worker

  /// Moves packets to the end of a burst.
  func take(into burst: PacketBurst, limit: Int) {
    guard waiting.load(ordering: .relaxed) > 0 else { return }
    state.withLock { state in
      _ = state.packets.move(to: burst, limit: limit)
      waiting.store(state.packets.count, ordering: .relaxed)
    }
  }

  /// Has the next packet wake the worker, which looks once more after this.
  func wantWakeup() { state.withLock { $0.isAsleep = true } }

  /// How many packets found no room since this was last asked.
  func takeOverflowed() -> Int {
    guard newOverflowed.load(ordering: .relaxed) > 0 else { return 0 }
    return newOverflowed.exchange(0, ordering: .relaxed)
  }

  // MARK: The control side

  /// How many packets have found no room.
  var overflowed: Int { allOverflowed.load(ordering: .relaxed) }

  /// Lets packets in, or none; then those that wait are dropped.
  func setOpen(_ isOpen: Bool) {
    state.withLock { state in
      state.isOpen = isOpen
      guard !isOpen else { return }
      state.packets.removeAll()
      waiting.store(0, ordering: .relaxed)
    }
  }

  var isOpen: Bool { state.withLock { $0.isOpen } }
}
