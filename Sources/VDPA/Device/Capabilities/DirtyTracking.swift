public import Virtio

/// A device that notes which pages of guest memory it has written (vhost-user, Migration).
public protocol DirtyTracking {
  /// Begins to note every write to guest memory, or ends it.
  ///
  /// When this returns, no write has been missed that is visible from then on, and none is noted in an earlier log any more.
  ///
  /// - Parameter log: Where to note it, after the write and before the guest is told; nil for nowhere.
  /// - Throws: Any error; the log is then what it was.
  func setLog(_ log: DirtyLog?) throws
}
