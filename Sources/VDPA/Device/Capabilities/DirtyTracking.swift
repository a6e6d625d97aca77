public import Virtio

/// A device that notes which pages of guest memory it has written (vhost-user, Migration).
public protocol DirtyTracking {
  /// Begins to note every write to guest memory, or ends it.
  ///
  /// Buffers are noted where they are, the device area of a vring only if the vring has a
  /// ``VringDescription/logAddress``, and there; the descriptors of a packed ring, which the device writes too, where they
  /// are. May come before ``Device/configure(_:)``, and holds until the next one, for vrings that start later too.
  ///
  /// When this returns, no write has been missed that is visible from then on, and none is noted in an earlier log any more.
  ///
  /// - Parameter log: Where to note it, after the write and before the guest is told; nil for nowhere. Once for all that
  ///   was noted in a burst, ``DirtyLog/signal()``.
  /// - Throws: Any error; the log is then what it was.
  func setLog(_ log: DirtyLog?) throws
}
