import Synchronization
import VDPA
import Virtio

@testable import Datapath

/// A client with a kick descriptor that is signalled only when the client has asked for it, as a guest does.
final class KickedClient: WorkerClient {
  let name: String
  let needsPolling = false
  let kick: OwnedFD
  private let work = Atomic<Int>(0)
  private let wantsKicks = Atomic<Bool>(false)
  private let rawDone = Atomic<Int>(0)
  private let rawWakes = Atomic<Int>(0)

  init(_ name: String = "kicked") throws {
    self.name = name
    kick = try EventFD.make()
  }

  /// How much has been done, and how often it was woken for it.
  var done: Int { rawDone.load(ordering: .acquiring) }
  var wakes: Int { rawWakes.load(ordering: .relaxed) }
  /// Whether it has asked for kicks, with nothing left to do.
  var isAsking: Bool { wantsKicks.load(ordering: .sequentiallyConsistent) }

  /// Gives it a piece of work.
  func give() {
    work.add(1, ordering: .sequentiallyConsistent)
    if wantsKicks.load(ordering: .sequentiallyConsistent) { EventFD.signal(kick) }
  }

  func serve(_ burst: PacketBurst, isPolled: Bool) -> Int {
    wantsKicks.store(false, ordering: .sequentiallyConsistent)
    var found = take()
    if found == 0 && !isPolled {
      wantsKicks.store(true, ordering: .sequentiallyConsistent)
      found = take()
    }
    return found
  }

  private func take() -> Int {
    let found = work.exchange(0, ordering: .sequentiallyConsistent)
    if found > 0 { rawDone.add(found, ordering: .releasing) }
    return found
  }

  func woken(by source: Int) { rawWakes.add(1, ordering: .relaxed) }
}
