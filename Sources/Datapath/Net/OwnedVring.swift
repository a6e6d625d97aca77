internal import Synchronization
internal import VDPA
internal import Virtio

/// A vring of a net device, running or not: whoever serves it has it for the time of a burst, and it is changed between
/// two bursts.
final class OwnedVring: Sendable {
  /// How a vring stands.
  enum Status: UInt8 {
    case stopped
    case disabled
    case running
  }

  /// What errors call it.
  let name: String
  /// What has happened on it, however often it was stopped and started.
  let counters = VringCounters()
  /// The vring; nil while it is stopped.
  let ownership = BurstOwnership<NetVring?>(nil)
  // What others may ask for while somebody serves it.
  private let rawStatus = Atomic<UInt8>(Status.stopped.rawValue)
  private let rawFault = Atomic<UInt8>(RingFault.none.rawValue)
  private let isWithoutKick = Atomic<Bool>(false)

  init(name: String) {
    self.name = name
  }

  /// How it stands, as of the last change.
  var status: Status { Status(rawValue: rawStatus.load(ordering: .relaxed)) ?? .stopped }

  /// Why the ring is broken, once that was reported.
  var fault: RingFault { RingFault(rawValue: rawFault.load(ordering: .relaxed)) ?? .none }

  /// Whether it runs and has no kick descriptor.
  var needsPolling: Bool { isWithoutKick.load(ordering: .relaxed) }

  /// Changes the vring between two bursts.
  func change<Result>(_ body: (inout NetVring?) throws -> Result) throws -> Result {
    try ownership.exclusively(name) { vring in
      defer {
        let status: Status = vring.map { $0.isEnabled ? .running : .disabled } ?? .stopped
        rawStatus.store(status.rawValue, ordering: .relaxed)
        rawFault.store((vring?.fault ?? .none).rawValue, ordering: .relaxed)
        isWithoutKick.store(vring.map { $0.kick == nil } ?? false, ordering: .relaxed)
      }
      return try body(&vring)
    }
  }

  /// Tells of a broken ring, or one that waits for a translation, once; by whoever serves it, outside of the burst, for
  /// whoever hears of it may want to change the ring.
  func report() {
    let attempt = ownership.attempt { vring -> (DeviceReport, (any DeviceObserver)?)? in
      guard let report = vring?.takeReport(), let vring else { return nil }
      rawFault.store(vring.fault.rawValue, ordering: .relaxed)
      return (report, vring.observer)
    }
    guard case .done(let found) = attempt, let (report, observer) = found else { return }
    observer?.deviceReports(report)
  }
}
