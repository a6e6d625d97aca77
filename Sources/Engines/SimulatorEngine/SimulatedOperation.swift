/// An operation of a simulated device, to say which of them a fault is about.
public enum SimulatedOperation: String, Sendable, Hashable, CaseIterable {
  /// `Device.configure(_:)`.
  case configure
  /// `Device.close()`.
  case close
  /// `Device.setVring(_:enabled:)`.
  case setVring
  /// `Device.setFeatures(_:)`.
  case setFeatures
  /// `Device.migrationDone()`.
  case migrationDone
  /// `Device.memoryChanged(from:to:)`.
  case memoryChanged
  /// `DMATranslation.map(_:)`.
  case map
  /// `DMATranslation.unmap(start:size:)`.
  case unmap
  /// `VringControl.stopVring(_:)`.
  case stopVring
  /// `Suspension.suspend()`.
  case suspend
  /// `Suspension.resume()`.
  case resume
  /// `DirtyTracking.setLog(_:)`.
  case setLog
  /// `GuestAnnouncement.announce(_:)`.
  case announce
  /// `MTUControl.setMTU(_:)`.
  case setMTU
  /// `NotifyArea.doorbell(of:)`.
  case doorbell
}
