/// One of the ways in which DPDK's virtio driver moves packets: the format of its rings, what it negotiates for them, and
/// whether it is asked for vector instructions, with so many queue pairs of such a size.
package struct RingPath: Hashable, Sendable, CustomStringConvertible {
  /// How rings are laid out.
  package enum Format: String, Hashable, Sendable, CaseIterable {
    case split
    case packed
  }

  package var format: Format
  /// VIRTIO_NET_F_MRG_RXBUF.
  package var isMergeable: Bool
  /// VIRTIO_F_IN_ORDER.
  package var isInOrder: Bool
  /// Asked for, that is; the driver has conditions.
  package var isVectorised: Bool
  /// Queue pairs.
  package var queues: Int
  /// Descriptors a ring.
  package var size: Int

  package init(
    _ format: Format, isMergeable: Bool = true, isInOrder: Bool = true, isVectorised: Bool = false, queues: Int = 1,
    size: Int = 256
  ) {
    self.format = format
    self.isMergeable = isMergeable
    self.isInOrder = isInOrder
    self.isVectorised = isVectorised
    self.queues = queues
    self.size = size
  }

  /// Every way, with one queue pair and four, and rings from 64 descriptors to 1024.
  package static let all: [RingPath] = Format.allCases.flatMap { format in
    [true, false].flatMap { isMergeable in
      [true, false].flatMap { isInOrder in
        [false, true].flatMap { isVectorised in
          [1, 4].flatMap { queues in
            [64, 256, 1024].map { size in
              RingPath(
                format, isMergeable: isMergeable, isInOrder: isInOrder, isVectorised: isVectorised, queues: queues,
                size: size)
            }
          }
        }
      }
    }
  }

  /// The longest frames that come back on it, in bytes: without mergeable buffers a frame has to fit into one, and
  /// testpmd's have 2 KiB.
  package var longestFrame: Int { isMergeable ? 9000 : 1518 }

  /// The front-end that takes it.
  package var options: Testpmd.FrontEnd.Options {
    var options = Testpmd.FrontEnd.Options(queues: queues)
    options.queueSize = size
    options.packed = format == .packed
    options.mrgRxbuf = isMergeable
    options.inOrder = isInOrder
    options.isVectorised = isVectorised
    // Full rings of both directions, as much in the transmit rings before they are cleaned up, and what is under way.
    options.mbufs = 4096 + 4 * queues * size
    return options
  }

  /// The functions that DPDK's driver has for it (22.11, `virtio_dev_configure` and `set_rxtx_funcs`): a wish for vector
  /// instructions that cannot be fulfilled is passed over.
  ///
  /// - Parameter hasAVX512: Whether the CPU has the instructions for packed rings; those for split rings every one has.
  package func driverPath(hasAVX512: Bool) -> DriverPath {
    switch format {
    case .split where isInOrder: return DriverPath(receive: "inorder", transmit: "inorder")
    case .split: return DriverPath(receive: receive(isVectorised: isVectorised), transmit: "standard")
    case .packed:
      let isVectorised = isVectorised && isInOrder && hasAVX512
      return DriverPath(
        receive: "packed ring " + receive(isVectorised: isVectorised),
        transmit: "packed ring " + (isVectorised ? "vectorized" : "standard"))
    }
  }

  private func receive(isVectorised: Bool) -> String {
    isMergeable ? "mergeable buffer" : isVectorised ? "vectorized" : "standard"
  }

  package var description: String {
    let words = [
      format.rawValue, isMergeable ? "mergeable" : nil, isInOrder ? "in order" : nil,
      isVectorised ? "vectorised" : nil, queues == 1 ? "1 queue pair" : "\(queues) queue pairs", "\(size) descriptors",
    ]
    return words.compactMap { $0 }.joined(separator: ", ")
  }
}
