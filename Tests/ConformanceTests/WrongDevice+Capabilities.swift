import Synchronization
import VDPA
import Virtio

extension WrongDevice {
  var capabilities: DeviceCapabilities {
    var capabilities = inner.capabilities
    switch fault {
    case .otherConfiguration, .writableConfiguration: capabilities.configuration = self
    case .startsAtFirstKick: (capabilities.vringControl, capabilities.dirtyTracking) = (self, self)
    case .servesStoppedVring, .wrongSinglePosition: capabilities.vringControl = self
    case .doesNotLog, .keepsLogging: capabilities.dirtyTracking = self
    case .resetsCounters: capabilities.statistics = capabilities.statistics.map { ForgetfulCounters($0) }
    default: break
    }
    return capabilities
  }
}

extension WrongDevice: ConfigurationSpace {
  var bytes: [UInt8] {
    var bytes = inner.capabilities.configuration?.bytes ?? []
    // Another MAC address while it runs, or that which a driver has written.
    if fault == .otherConfiguration, setup != nil { bytes[5] ^= 0xff }
    bytes.replaceSubrange(0..<written.count, with: written)
    return bytes
  }

  func write(_ bytes: [UInt8], at offset: Int, isRestoring: Bool) throws {
    if fault == .writableConfiguration, offset == 0 { written = bytes }
  }
}

extension WrongDevice: VringControl {
  func stopVring(_ index: Int) throws -> VringState {
    guard let control = inner.capabilities.vringControl, let setup else { throw WrongError("it does not run") }
    try settle()
    var state = try control.stopVring(index)
    if fault == .wrongSinglePosition {
      if index == 1 { state.nextUsed &+= 1 }
      return state
    }
    guard fault == .servesStoppedVring else { return state }
    if var vring = setup.vrings.first(where: { $0.description.index == index }) {
      vring.description.state = state
      try inner.setVring(vring.description, enabled: true)
    }
    return state
  }
}

extension WrongDevice: DirtyTracking {
  func setLog(_ log: DirtyLog?) throws {
    guard let tracking = inner.capabilities.dirtyTracking else { return }
    try settle()
    switch fault {
    case .doesNotLog: try tracking.setLog(nil)
    case .keepsLogging where log == nil: break
    default: try tracking.setLog(log)
    }
  }
}

/// Counters that are 0 every other time.
private final class ForgetfulCounters: DeviceStatistics {
  private let counters: any DeviceStatistics
  private let reads = Atomic<Int>(0)

  init(_ counters: any DeviceStatistics) { self.counters = counters }

  var vrings: [VringStatistics] {
    let isEven = reads.add(1, ordering: .relaxed).newValue % 2 == 0
    return counters.vrings.map { isEven ? VringStatistics() : $0 }
  }
}
