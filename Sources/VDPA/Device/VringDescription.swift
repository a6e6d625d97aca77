public import Virtio

/// A vring, whole: all that a device has to know to serve it.
public struct VringDescription: Sendable {
  /// The vring's index.
  public var index: Int
  /// The number of descriptors.
  public var size: Int
  /// The guest address of the descriptor table.
  public var descriptor: UInt64
  /// The guest address of the driver area (split: available ring).
  public var avail: UInt64
  /// The guest address of the device area (split: used ring).
  public var used: UInt64
  /// Where to go on.
  public var state: VringState
  /// An eventfd that the guest writes to when it has made buffers available; nil when the ring is to be polled. It is
  /// watched edge-triggered and never read.
  public var kick: OwnedFD?
  /// An eventfd to write to when buffers were used; nil when the guest polls.
  public var call: OwnedFD?
  /// An eventfd to write to when the ring is broken. The framework writes to it.
  public var error: OwnedFD?
  /// Where the device notes what it has fetched and not returned, and finds what another one had when it died; nil where
  /// that was not agreed upon. It decides on ``state`` unless it is unused.
  public var inflight: InflightQueue?
  /// Under which guest physical address writes to the device area (split: the used ring) are noted while there is a dirty
  /// log (``DirtyTracking``); nil when they are not. It need not be in guest memory, and behind an IOMMU, where front-ends
  /// name it as the guest does, they are noted where ``used`` lies instead (vhost-user, `VHOST_VRING_F_LOG`).
  public var logAddress: UInt64?

  /// A vring.
  public init(
    index: Int, size: Int, descriptor: UInt64, avail: UInt64, used: UInt64, state: VringState, kick: OwnedFD? = nil,
    call: OwnedFD? = nil, error: OwnedFD? = nil, inflight: InflightQueue? = nil, logAddress: UInt64? = nil
  ) {
    self.index = index
    self.size = size
    self.descriptor = descriptor
    self.avail = avail
    self.used = used
    self.state = state
    self.kick = kick
    self.call = call
    self.error = error
    self.inflight = inflight
    self.logAddress = logAddress
  }
}
