package import VDPA
package import Virtio

extension VringState {
  /// The number of SET_VRING_BASE that stands for this position (vhost-user, Vring base; packed: the available position in
  /// the low half, the used one in the high half).
  package func base(in format: RingLayout.Format) -> UInt32 {
    format == .split ? UInt32(nextAvail) : UInt32(nextAvail) | UInt32(nextUsed) << 16
  }

  /// The position that a back-end answers to GET_VRING_BASE. Of a split ring it says nothing of what was used, which is
  /// where the ring stands too, once nothing is in flight.
  ///
  /// - Returns: nil when no ring of that format and size can stand there.
  package init?(index: Int, base: UInt32, layout: RingLayout) {
    let low = UInt16(truncatingIfNeeded: base)
    let high = UInt16(truncatingIfNeeded: base >> 16)
    switch layout.format {
    case .split:
      guard high == 0 else { return nil }
      self.init(index: index, nextAvail: low, nextUsed: low)
    case .packed:
      guard Int(low & 0x7fff) < layout.size, Int(high & 0x7fff) < layout.size else { return nil }
      self.init(index: index, nextAvail: low, nextUsed: high)
    }
  }
}
