/// A device that can be cut off from memory although it does not answer: an IOMMU takes its map away, bus mastering ends, its
/// file is closed (design §4.1: a dead device is fenced first).
///
/// The framework fences a device with a map of its own (``DMATranslation``) by unmapping, and needs this of others.
public protocol Fencing {
  /// Takes all guest memory away from the device. When this returns, it can neither read nor write it, whatever it does.
  ///
  /// The device is not used again before a ``Device/close()`` has succeeded.
  ///
  /// - Throws: Any error, when the device may still reach memory.
  func fence() throws
}
