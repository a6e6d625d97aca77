import Peers

/// What one row of the comparison is about: the same for every back-end.
struct CellPlan: Sendable, Hashable {
  var port: Port
  var format = RingPath.Format.split
  /// The frame without its checksum, which virtio does not carry.
  var bytes: Int
  /// VIRTIO_NET_F_MRG_RXBUF and VIRTIO_F_IN_ORDER, as the front-end has them.
  var isMergeable = true
  var isInOrder = true

  /// Every combination. What is mergeable or in order is varied for loopback alone, for which both rings matter; a sink and
  /// a source have what drivers do by themselves.
  static func all(ports: [Port], formats: [RingPath.Format], sizes: [Int], mergeable: [Bool], inOrder: [Bool])
    -> [CellPlan]
  {
    ports.flatMap { port in
      formats.flatMap { format in
        (port == .loopback ? mergeable : [true]).flatMap { isMergeable in
          (port == .loopback ? inOrder : [true]).flatMap { isInOrder in
            sizes.map {
              CellPlan(port: port, format: format, bytes: $0, isMergeable: isMergeable, isInOrder: isInOrder)
            }
          }
        }
      }
    }
  }

  /// `loopback split 64 B, not mergeable, any order`
  var name: String {
    "\(port) \(format) \(bytes) B" + (isMergeable ? "" : ", not mergeable") + (isInOrder ? "" : ", any order")
  }
}
