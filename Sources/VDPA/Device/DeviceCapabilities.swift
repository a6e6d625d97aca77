public import Virtio

/// What a device can do beyond the mandatory operations; nil where this device cannot.
///
/// The values are used in the device's context like the device itself, except for ``statistics``, which may be read from
/// any thread.
public struct DeviceCapabilities {
  /// Single vrings can be stopped while the others run.
  public var vringControl: (any VringControl)?
  /// The device translates addresses itself and has to be told what guest memory there is.
  public var dmaTranslation: (any DMATranslation)?
  /// The device has a configuration space that can be read.
  public var configuration: (any ConfigurationSpace)?
  /// The device counts what it does.
  public var statistics: (any DeviceStatistics)?

  /// Capabilities; none unless given.
  public init(
    vringControl: (any VringControl)? = nil, dmaTranslation: (any DMATranslation)? = nil,
    configuration: (any ConfigurationSpace)? = nil, statistics: (any DeviceStatistics)? = nil
  ) {
    self.vringControl = vringControl
    self.dmaTranslation = dmaTranslation
    self.configuration = configuration
    self.statistics = statistics
  }
}

/// Stopping single vrings.
public protocol VringControl {
  /// Stops a vring: nothing new is fetched from it, what was fetched is finished, and then it is no longer touched.
  ///
  /// - Parameter index: The vring.
  /// - Returns: Where it stands.
  /// - Throws: Any error; the framework then closes the device.
  func stopVring(_ index: Int) throws -> VringState
}

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

/// The configuration space of a device (virtio 1.2, §2.5).
public protocol ConfigurationSpace {
  /// The space as it is now, in the standard's layout for the device type, little-endian.
  var bytes: [UInt8] { get }
}

/// The counters of a device. May be read from any thread at any time.
public protocol DeviceStatistics: Sendable {
  /// The counters of each vring, by index.
  var vrings: [VringStatistics] { get }
}
