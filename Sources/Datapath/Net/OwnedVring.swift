internal import Synchronization
internal import VDPA
internal import Virtio

/// A vring of a net device, running or not: whoever serves it has it for the time of a burst, and it is changed between
/// two bursts.
final class OwnedVring: Sendable {
  /// What errors call it.
  let name: String
  /// What has happened on it, however often it was stopped and started.
  let counters = VringCounters()
  /// The vring; nil while it is stopped.
  let ownership = BurstOwnership<NetVring?>(nil)
  private let isWithoutKick = Atomic<Bool>(false)

  init(name: String) {
    self.name = name
  }

  /// Whether it runs and has no kick descriptor.
  var needsPolling: Bool { isWithoutKick.load(ordering: .relaxed) }

  /// Changes the vring between two bursts.
  func change<Result>(_ body: (inout NetVring?) throws -> Result) throws -> Result {
    try ownership.exclusively(name) { vring in
      defer { isWithoutKick.store(vring.map { $0.kick == nil } ?? false, ordering: .relaxed) }
      return try body(&vring)
    }
  }

  /// Tells of a broken ring, once; by whoever serves it, outside of the burst, for whoever hears of it may want to change
  /// the ring.
  func reportFault() {
    let found = ownership.burst { vring in vring?.takeFault().map { ($0, vring?.index ?? 0, vring?.observer) } }
    guard let (fault, index, observer) = found ?? nil else { return }
    observer?.deviceReports(.vringBroken(index: index, reason: fault.description))
  }
}
