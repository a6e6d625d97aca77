public import Virtio

/// Sees from guest memory whether a ring moves that has something to be done, whoever serves it.
public struct RingProgress: Sendable {
  private var before: Look?

  private struct Look: Sendable, Hashable {
    var hasWork: Bool
    /// What changes with everything that is returned.
    var mark: UInt64
  }

  /// Nothing was seen yet.
  public init() {}

  /// Looks at a ring.
  ///
  /// In a packed ring what the driver adds looks like progress, too, which ends when the ring is full.
  ///
  /// - Returns: Whether there was something to be done at the look before, and none of it has been done since. Not so for a
  ///   ring that cannot be read.
  public mutating func isStuck(_ vring: VringDescription, features: Features, in memory: GuestMemory) -> Bool {
    let look = RingProgress.look(at: vring, features: features, in: memory)
    defer { before = look }
    guard let look, look.hasWork else { return false }
    return look == before
  }

  private static func look(at vring: VringDescription, features: Features, in memory: GuestMemory) -> Look? {
    var view = memory.addressMap.view
    switch RingLayout.Format(for: features) {
    case .split:
      guard let used = view.readUInt16(at: vring.used + 2), let avail = view.readUInt16(at: vring.avail + 2) else {
        return nil
      }
      return Look(hasWork: used != avail, mark: UInt64(used))
    case .packed:
      var look = Look(hasWork: false, mark: 0)
      for index in 0..<vring.size {
        guard let flags = view.readUInt16(at: vring.descriptor + UInt64(index) * 16 + 14) else { return nil }
        // The two bits differ from when a descriptor is made available until it is used (virtio 1.2, §2.8.1).
        let isWaiting = (flags >> 7 ^ flags >> 15) & 1 == 1
        look.hasWork = look.hasWork || isWaiting
        look.mark = (look.mark &* 0x0000_0100_0000_01b3) ^ UInt64(flags & 0x8080)
      }
      return look
    }
  }
}
