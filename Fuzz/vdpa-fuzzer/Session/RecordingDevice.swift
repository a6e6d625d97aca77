internal import Synchronization
internal import VDPA
internal import Virtio

/// A device with every capability, or with none, that moves nothing and has what it is told examined.
final class RecordingDevice: Device, ConfigurationSpace, GuestAnnouncement, MTUControl, NotifyArea, StateTransfer,
  SharedObjects, VringControl, PostcopyServing
{
  private let record: DeviceRecord
  private let isCapable: Bool
  private let page: OwnedFD
  let attributes: DeviceAttributes

  /// - Parameters:
  ///   - page: What stands for a page of doorbells, and for a shared object.
  ///   - hasThread: Whether its operations run on a thread of its own.
  init(_ record: DeviceRecord, page: OwnedFD, isCapable: Bool, hasThread: Bool) {
    (self.record, self.page, self.isCapable) = (record, page, isCapable)
    attributes = DeviceAttributes(
      type: .net, features: record.offered, protocolFeatures: SessionTarget.everyProtocolFeature,
      vringCount: record.vringCount, maxRingSize: record.maxRingSize, operationsMayBlock: hasThread)
  }

  var capabilities: DeviceCapabilities {
    guard isCapable else { return DeviceCapabilities() }
    return DeviceCapabilities(
      vringControl: self, configuration: self, announcement: self, mtuControl: self, notifyArea: self,
      stateTransfer: self, postcopy: self, sharedObjects: self)
  }

  func configure(_ setup: DeviceSetup) throws { try record.configure(setup) }
  func close() throws -> [VringState] { try record.close() }
  func setVring(_ description: VringDescription, enabled: Bool) throws {
    try record.setVring(DeviceSetup.Vring(description, isEnabled: enabled))
  }
  func stopVring(_ index: Int) throws -> VringState { try record.stopVring(index) }
  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws {
    try record.memoryChanged(from: old, to: new)
  }
  func setFeatures(_ features: Features) throws {
    try record.attempt()
    Oracle.require(record.offered.isSuperset(of: features), "features that the device does not offer")
  }
  func migrationDone() throws { try record.attempt() }

  func beginPostcopy() throws {
    try record.attempt()
    record.state.withLock { $0.isArriving = true }
  }
  func endPostcopy() throws {
    record.state.withLock { $0.isArriving = false }
    try record.attempt()
  }

  let bytes = [UInt8](0..<16)
  func write(_ bytes: [UInt8], at offset: Int, isRestoring: Bool) throws {
    Oracle.require(offset >= 0 && offset + bytes.count <= 256, "a write outside of the configuration space")
    try record.attempt()
  }
  func announce(_ address: MACAddress) throws { try record.attempt() }
  func setMTU(_ mtu: UInt16) throws {
    Oracle.require(mtu >= 68, "an MTU of \(mtu)")
    try record.attempt()
  }
  func doorbell(of index: Int) throws -> Doorbell? {
    try record.attempt()
    return index == 1 ? nil : Doorbell(file: page, offset: UInt64(index) << 12)
  }
  func saveState() throws -> [UInt8] {
    try record.attempt()
    return record.state.withLock { $0.savedState }
  }
  func loadState(_ bytes: [UInt8]) throws {
    try record.attempt()
    record.state.withLock { $0.savedState = bytes }
  }
  func sharedObjectFound(_ uuid: [UInt8], _ object: OwnedFD?) {}
  func sharedObject(_ uuid: [UInt8]) -> OwnedFD? {
    Oracle.require(uuid.count == 16, "a UUID of \(uuid.count) bytes")
    return uuid[0] & 1 == 1 ? page : nil
  }
}
