internal import Synchronization
internal import VDPA

/// The counters of a device as others see them; its thread writes them after each burst.
final class StatisticsBoard: Sendable {
  private let counters: Mutex<[VringStatistics]>

  init(vringCount: Int) {
    counters = Mutex(Array(repeating: VringStatistics(), count: vringCount))
  }

  var all: [VringStatistics] { counters.withLock { $0 } }

  subscript(index: Int) -> VringStatistics {
    get { counters.withLock { $0[index] } }
    set { counters.withLock { $0[index] = newValue } }
  }

  func reset() {
    counters.withLock { counters in
      for i in counters.indices { counters[i] = VringStatistics() }
    }
  }
}
