internal import Synchronization
internal import Virtio

/// What can be set while a device runs, and what it leaves behind for others to look at.
final class DeviceDials: Sendable {
  private let microseconds: Atomic<Int>
  private let addresses = Mutex<[MACAddress]>([])

  init(latency: Int) { microseconds = Atomic(latency) }

  /// How long a packet or request takes, in microseconds.
  var latency: Int {
    get { microseconds.load(ordering: .relaxed) }
    set { microseconds.store(min(max(newValue, 0), SimulatorSettings.maxLatency), ordering: .relaxed) }
  }

  /// Whose guests were announced, the first one first; the newest thousand.
  var announced: [MACAddress] { addresses.withLock { $0 } }

  func announce(_ address: MACAddress) {
    addresses.withLock { addresses in
      if addresses.count == 1000 { addresses.removeFirst() }
      addresses.append(address)
    }
  }
}
