import Foundation
import Synchronization
import VDPA
import Virtio

/// A device that does what another one does, but for one thing.
final class WrongDevice: Device {
  let inner: any Device
  let fault: Wrong.Fault?
  let attributes: DeviceAttributes
  /// What it was configured with; nil while it is not.
  private(set) var setup: DeviceSetup?
  /// What it has of the configuration space that a driver has written.
  var written: [UInt8] = []
  private var configured = 0
  private var start: KickWatch?
  private var remembered: (memory: GuestMemory, states: [VringState])?

  init(_ inner: any Device, _ fault: Wrong.Fault?, claim: Int) {
    self.inner = inner
    self.fault = fault
    var attributes = inner.attributes
    if fault == .offersProtocolBit { attributes.features.insert(.protocolFeatures) }
    if fault == .shrinksWhenClaimedAgain, claim > 1 { attributes.maxRingSize = 128 }
    self.attributes = attributes
  }

  // MARK: Operations

  func configure(_ wanted: DeviceSetup) throws {
    configured += 1
    if fault == .wearsOut, configured > 30 { throw WrongError("it was configured thirty times") }
    if fault == .refusesLargestRing, wanted.vrings.contains(where: { $0.description.size >= 1024 }) {
      throw WrongError("the ring is too long")
    }
    if fault == .needsEventIndex, !wanted.features.contains(.eventIndex), wanted.vrings.first?.description.size == 64 {
      throw WrongError("it needs event indices, which it does not say")
    }
    var setup = tampered(wanted)
    let fresh = RingLayout.Format(for: wanted.features).start
    let isLate =
      fault == .startsAtFirstKick && wanted.vrings.allSatisfy { $0.description.state.nextAvail == fresh }
    if isLate { setup.vrings = [] }
    try inner.configure(setup)
    self.setup = wanted
    if isLate { startLater(wanted) }
    if fault == .neverCalls, let call = wanted.vrings.first(where: { $0.description.index == 1 })?.description.call {
      // But at the start.
      EventFD.signal(call)
    }
    if fault == .startsUnheard {
      for vring in wanted.vrings { if let call = vring.description.call { EventFD.drain(call) } }
    }
    if fault == .scribbles { scribble(0x77, on: wanted.memory) }
  }

  private func tampered(_ wanted: DeviceSetup) -> DeviceSetup {
    var setup = wanted
    if fault == .hidesBrokenRings { setup.observer = DeafObserver(observer: wanted.observer) }
    if fault == .remembersPositions, let remembered, remembered.memory === wanted.memory {
      setup = setup.at(remembered.states)
    }
    for i in setup.vrings.indices { tamper(with: &setup.vrings[i], isSplit: !wanted.features.contains(.packedRing)) }
    return setup
  }

  private func tamper(with vring: inout DeviceSetup.Vring, isSplit: Bool) {
    let position = vring.description.state.nextAvail
    switch fault {
    case .ignoresDisabling: vring.isEnabled = true
    case .neverCalls where vring.description.index == 1: vring.description.call = nil
    case .forgetsPositions where isSplit && position < 0x8000:
      (vring.description.state.nextAvail, vring.description.state.nextUsed) = (0, 0)
    case .masksPositions where isSplit:
      (vring.description.state.nextAvail, vring.description.state.nextUsed) = (position & 0x7fff, position & 0x7fff)
    default: break
    }
  }

  func close() throws -> [VringState] {
    let isUnstarted = start?.callOff() == true
    var states = try inner.close()
    if let setup {
      if isUnstarted { states = setup.vrings.map(\.description.state) }
      remembered = (setup.memory, states)
      if fault == .writesAfterClose { later { number in scribble(number, on: setup.memory) } }
      if fault == .callsAfterClose {
        later { _ in for vring in setup.vrings { if let call = vring.description.call { EventFD.signal(call) } } }
      }
      if fault == .forgetsIdleRings {
        states.removeAll { state in setup.vrings.contains { $0.description.state == state } }
      }
    }
    if fault == .wrongPositions {
      for i in states.indices where states[i].index == 1 { states[i].nextAvail &+= 1 }
    }
    setup = nil
    return states
  }

  func setVring(_ description: VringDescription, enabled: Bool) throws {
    try settle()
    guard let setup else {
      if fault == .refusesEarlyVrings { throw WrongError("it is not configured") }
      return try inner.setVring(description, enabled: enabled)
    }
    var description = description
    guard let running = setup.vrings.firstIndex(where: { $0.description.index == description.index }) else {
      if fault == .ignoresLateVrings { return }
      try inner.setVring(description, enabled: enabled)
      self.setup?.vrings.append(DeviceSetup.Vring(description, isEnabled: enabled))
      return
    }
    if fault == .keepsOldCall { description.call = setup.vrings[running].description.call }
    try inner.setVring(description, enabled: fault == .ignoresDisabling ? true : enabled)
  }

  func setFeatures(_ features: Features) throws {
    if fault == .refusesAFeature, features.contains(.netMTU) { throw WrongError("it has no MTU after all") }
    try inner.setFeatures(features)
  }

  func migrationDone() throws {
    try settle()
    if fault == .refusesArrival { throw WrongError("it knows nothing of migration") }
    try inner.migrationDone()
  }

  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws {
    try settle()
    switch fault {
    case .refusesMemoryChanges: throw WrongError("its memory cannot change")
    case .ignoresRemovals where new.addressMap.ranges.count < old.addressMap.ranges.count: break
    default: try inner.memoryChanged(from: old, to: new)
    }
  }

  // MARK: What goes wrong by itself

  /// Serves rings when one of them is kicked, whatever is in them before.
  private func startLater(_ setup: DeviceSetup) {
    for vring in setup.vrings { if let call = vring.description.call { EventFD.signal(call) } }
    // Whatever else is called settles this first.
    nonisolated(unsafe) let device = inner
    start = KickWatch(setup.vrings.compactMap(\.description.kick)) {
      for vring in setup.vrings { try? unsafe device.setVring(vring.description, enabled: vring.isEnabled) }
    }
  }

  /// Makes sure that nobody starts rings from now on: those that wait for a kick are started, and those that are being started have
  /// been.
  func settle() throws {
    guard let setup, start?.callOff() == true else { return }
    for vring in setup.vrings { try inner.setVring(vring.description, enabled: vring.isEnabled) }
  }

  /// Does something over and over for a while, when nobody expects it any more.
  private func later(_ body: @escaping @Sendable (UInt8) -> Void) {
    Thread.detachNewThread {
      for number in 1...100 as ClosedRange<UInt8> {
        usleep(5000)
        body(number)
      }
    }
  }
}

/// Writes to the last bytes of guest memory.
private func scribble(_ value: UInt8, on memory: GuestMemory) {
  guard let last = memory.addressMap.ranges.last else { return }
  var view = memory.addressMap.view
  guard let host = unsafe view.contiguous(at: last.start + last.size - 8, length: 8, for: .write) else { return }
  // The view has checked the place.
  unsafe host.storeBytes(of: value, as: UInt8.self)
}

/// Hears nothing of rings that are broken.
private struct DeafObserver: DeviceObserver {
  let observer: any DeviceObserver

  func deviceReports(_ report: DeviceReport) {
    if case .vringBroken = report { return }
    observer.deviceReports(report)
  }
}
