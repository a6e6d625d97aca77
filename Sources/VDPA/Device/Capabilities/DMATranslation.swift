public import Virtio

/// A device with a DMA map of its own (*on-chip* translation; the kernel's `dma_map` and `dma_unmap`).
///
/// The framework maps guest memory before ``Device/configure(_:)``, changes it around
/// ``Device/memoryChanged(from:to:)``, and unmaps it after ``Device/close()``.
public protocol DMATranslation {
  /// Makes memory reachable.
  ///
  /// - Parameter range: The addresses that the device will use, the memory behind them and what it may do there.
  /// - Throws: Any error, for example when the range overlaps with another.
  func map(_ range: AddressMap.Range) throws

  /// Makes memory unreachable; the device no longer touches it when this returns.
  ///
  /// - Parameters:
  ///   - start: The first address of a range that was mapped.
  ///   - size: Its length in bytes.
  /// - Throws: Any error, for example when there is no such range.
  func unmap(start: UInt64, size: UInt64) throws
}
