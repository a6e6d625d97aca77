public import Virtio

/// Everything that a device is configured with.
public struct DeviceSetup: Sendable {
  /// A vring and whether it is enabled.
  public struct Vring: Sendable {
    /// The vring.
    public var description: VringDescription
    /// Whether it is enabled: a disabled net ring is served without effect (packets from the guest are dropped).
    public var isEnabled: Bool

    /// A vring and whether it is enabled.
    public init(_ description: VringDescription, isEnabled: Bool) {
      self.description = description
      self.isEnabled = isEnabled
    }
  }

  /// The features that the guest's driver accepted, without those that belong to the protocol (26 and 30).
  public var features: Features
  /// The guest's memory.
  public var memory: GuestMemory
  /// The vrings that are started, by ascending index.
  public var vrings: [Vring]
  /// Who hears of what happens to the device by itself. May be called from any thread, not from within an operation.
  public var observer: any DeviceObserver

  /// A setup.
  public init(features: Features, memory: GuestMemory, vrings: [Vring], observer: any DeviceObserver) {
    self.features = features
    self.memory = memory
    self.vrings = vrings
    self.observer = observer
  }
}

/// Hears of what happens to a device by itself, outside of any operation.
public protocol DeviceObserver: Sendable {
  /// A device has something to report. Called on a thread of the device; it must return quickly.
  func deviceReports(_ report: DeviceReport)
}

/// What a device reports by itself.
public enum DeviceReport: Sendable, Hashable {
  /// A vring was found broken and is no longer served; the others go on.
  case vringBroken(index: Int, reason: String)
  /// A vring needs an address that the guest's IOMMU is not known to translate. It waits, with nothing fetched, and looks
  /// again when memory has changed; reported once for each wait.
  case translationMissing(index: Int, miss: AddressMap.Miss)
  /// Requests of a vring fail, which is served all the same. Reported now and then, not for each request.
  case requestsFail(index: Int, reason: String)
  /// A vring is served again, beginning with the requests that were in flight when whoever served it before died.
  case requestsResubmitted(index: Int, count: Int)
  /// The configuration space has changed by itself; the guest's driver is to look at it.
  case configurationChanged
  /// Guest memory is gone under the device: nothing that is read from it or written to it means anything any more, and
  /// the connection has to end. The reason names the region and says what to do.
  case memoryLost(reason: String)
  /// The device has an object that others may use now, by a UUID of 16 bytes (RFC 4122).
  case sharedObjectAdded(uuid: [UInt8])
  /// It has it no more.
  case sharedObjectRemoved(uuid: [UInt8])
  /// The device wants an object of another one; the answer comes to ``SharedObjects/sharedObjectFound(_:_:)``.
  case sharedObjectWanted(uuid: [UInt8])
  /// The device has failed and serves nothing any more.
  case failed(reason: String)
}
