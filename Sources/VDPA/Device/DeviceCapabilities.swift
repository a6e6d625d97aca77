/// What a device can do beyond the mandatory operations; nil where this device cannot.
///
/// The values are used in the device's context like the device itself, except for ``statistics``, which may be read from
/// any thread.
public struct DeviceCapabilities {
  /// Single vrings can be stopped while the others run.
  public var vringControl: (any VringControl)?
  /// The device translates addresses itself and has to be told what guest memory there is.
  public var dmaTranslation: (any DMATranslation)?
  /// The device has a configuration space that can be read.
  public var configuration: (any ConfigurationSpace)?
  /// The device counts what it does.
  public var statistics: (any DeviceStatistics)?
  /// The device keeps a dirty log.
  public var dirtyTracking: (any DirtyTracking)?
  /// The device can tell its network where a guest is to be found.
  public var announcement: (any GuestAnnouncement)?
  /// The MTU of the device can be set.
  public var mtuControl: (any MTUControl)?
  /// The device has doorbells that a guest can be given.
  public var notifyArea: (any NotifyArea)?
  /// The device has a state of its own that moves with its guest.
  public var stateTransfer: (any StateTransfer)?
  /// The device can serve memory that arrives late.
  public var postcopy: (any PostcopyServing)?
  /// The device has objects that others may share.
  public var sharedObjects: (any SharedObjects)?

  /// The device can be cut off from memory although it does not answer.
  public var fencing: (any Fencing)?

  /// Capabilities; none unless given.
  public init(
    vringControl: (any VringControl)? = nil, dmaTranslation: (any DMATranslation)? = nil,
    configuration: (any ConfigurationSpace)? = nil, statistics: (any DeviceStatistics)? = nil,
    dirtyTracking: (any DirtyTracking)? = nil, announcement: (any GuestAnnouncement)? = nil,
    mtuControl: (any MTUControl)? = nil, notifyArea: (any NotifyArea)? = nil, stateTransfer: (any StateTransfer)? = nil,
    postcopy: (any PostcopyServing)? = nil, sharedObjects: (any SharedObjects)? = nil,
    fencing: (any Fencing)? = nil
  ) {
    self.vringControl = vringControl
    self.dmaTranslation = dmaTranslation
    self.configuration = configuration
    self.statistics = statistics
    self.dirtyTracking = dirtyTracking
    self.announcement = announcement
    self.mtuControl = mtuControl
    self.notifyArea = notifyArea
    self.stateTransfer = stateTransfer
    self.postcopy = postcopy
    self.sharedObjects = sharedObjects
    self.fencing = fencing
  }
}
