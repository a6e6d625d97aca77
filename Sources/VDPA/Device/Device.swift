public import Virtio

/// Something that serves virtqueues: hardware behind an engine, or the software datapath.
///
/// All operations of one device run one at a time in its context (a thread of its own if
/// ``DeviceAttributes/operationsMayBlock``, else the caller's). Every operation can fail; the framework logs the failure
/// with the name of the socket, counts it, and takes the device away from it. What only some devices can do is not here
/// but in ``capabilities``.
public protocol Device: AnyObject {
  /// What the device is and offers (design: `info_query`). Read before it is bound and at every negotiation.
  var attributes: DeviceAttributes { get }

  /// What this device can do beyond the mandatory operations. Read once, when the device appears.
  var capabilities: DeviceCapabilities { get }

  /// The virtio device became ready: guest memory, features and at least the type's first rings are there (design:
  /// `dev_conf`).
  ///
  /// - Parameter setup: All there is to know. The memory stays valid until ``memoryChanged(from:to:)`` or ``close()``
  ///   has returned.
  /// - Throws: Any error; the device then behaves as if this had not been called. One that has served rings meanwhile says
  ///   where they stand (``PartialStart``).
  func configure(_ setup: DeviceSetup) throws

  /// The virtio device stopped (design: `dev_close`).
  ///
  /// When this returns, the device no longer reads or writes guest memory and no longer notifies the guest.
  ///
  /// - Returns: Where each ring that ``configure(_:)`` or ``setVring(_:enabled:)`` had started stands, in any order. Without
  ///   those of which the device can no longer say it: the framework then looks in guest memory (``RingRecovery``).
  /// - Throws: Any error, when the device could not be stopped: it may then still use guest memory. It is fenced
  ///   (``Fencing``, ``DMATranslation``) or, if that cannot be, its memory stays mapped; and it is asked again before it
  ///   is used for anything else.
  func close() throws -> [VringState]

  /// A vring was enabled or disabled, started late, got new kick or call descriptors, or its device area is to be noted in
  /// dirty logs or no longer (design: `vring_state_set`).
  ///
  /// May come before ``configure(_:)``, which then repeats it.
  ///
  /// - Parameters:
  ///   - description: The vring, whole. For one that runs already, size, addresses and position are what they were.
  ///   - enabled: Whether it is enabled.
  /// - Throws: Any error; the vring is then as it was.
  func setVring(_ description: VringDescription, enabled: Bool) throws

  /// The front-end accepted features, or accepted them anew while running to switch dirty logging (design:
  /// `feature_set`).
  ///
  /// - Throws: Any error; the features are then as they were.
  func setFeatures(_ features: Features) throws

  /// The guest has arrived by migration and now runs here (design: `migration_done`).
  ///
  /// - Throws: Any error.
  func migrationDone() throws

  /// Guest memory changed, or what the guest's IOMMU makes of it. The rings run meanwhile, and are where they were.
  ///
  /// When this returns, the device uses nothing that `new` does not have, and rings that wait for a translation look again.
  ///
  /// - Throws: Any error, for example when a ring is no longer in memory. The device is then closed.
  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws
}
