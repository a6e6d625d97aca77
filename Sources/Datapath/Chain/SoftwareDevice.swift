public import VDPA
public import Virtio

/// A virtio device of one's own: what it is, and what it does with a descriptor chain.
///
/// The framework does the rest: rings of either format, indirect tables, notifications, order, statistics, draining
/// before a ring stops, memory changes. A device type is made known with ``SoftwareEngine/register(_:make:)``; each socket
/// that is left unbound then gets a device of its own.
///
/// ```swift
/// struct Zeroes: SoftwareDevice {
///   let type = DeviceType.entropy
///   func process(_ chain: consuming Chain, queue: Int) {
///     chain.write([UInt8](repeating: 0, count: min(chain.writableBytes, 4096)), at: 0)
///   }
/// }
/// ```
///
/// ``process(_:queue:)`` and ``service(queue:)`` of one queue are called by one thread at a time; those of different queues
/// at the same time, if there are several workers. They must not block, and must not call the engine, the registry or a
/// socket. ``start(queue:context:)`` and ``stop(queue:)`` may block.
public protocol SoftwareDevice: Sendable {
  /// What kind of device it is (virtio 1.2, §5).
  var type: DeviceType { get }
  /// The features of the device type that are offered; those of rings come from the framework. None unless said otherwise.
  var features: Features { get }
  /// How many rings there are; 1 unless said otherwise.
  var queueCount: Int { get }
  /// The configuration space as it is now, in the standard's layout for the type, little-endian; empty for none.
  var configuration: [UInt8] { get }

  /// A state of the device's own that moves with its guest, beyond rings and configuration; nil for none, as unless said
  /// otherwise. It is saved and loaded while no ring is served, on one thread at a time.
  var stateTransfer: (any StateTransfer & Sendable)? { get }

  /// Serves one chain. It is returned to the guest when the value is destroyed: at the end of this call, or, if it is kept,
  /// whenever the device lets go of it, on any thread and in any order.
  ///
  /// - Parameters:
  ///   - chain: The chain with its buffers.
  ///   - queue: The index of the ring that it came from.
  func process(_ chain: consuming Chain, queue: Int)

  /// Called after the chains of a turn were handed out: submits what was collected, takes in what has finished.
  ///
  /// - Returns: How much was done; with 0 the worker may sleep.
  func service(queue: Int) -> Int

  /// A descriptor that becomes readable when ``service(queue:)`` has something to do; nil when there is never anything to
  /// wait for. It is watched edge-triggered and never read. The same one from ``start(queue:context:)`` to
  /// ``stop(queue:)``.
  func wakeup(queue: Int) -> OwnedFD?

  /// Says whether ``wakeup(queue:)`` has to tell of what ``service(queue:)`` would find from now on. A ring's worker asks
  /// for it before it sleeps, and then calls ``service(queue:)`` once more; while it looks by itself it asks to do
  /// without. Does nothing unless said otherwise: a wakeup too many costs time and is never wrong.
  func wantWakeups(_ wanted: Bool, queue: Int)

  /// A ring is about to be served for the first time, or again after ``stop(queue:)``.
  ///
  /// - Parameters:
  ///   - queue: The index of the ring.
  ///   - context: What its driver has accepted, and whom to tell of trouble.
  /// - Throws: Any error; the ring is then not served.
  func start(queue: Int, context: QueueContext) throws

  /// A ring is no longer served, and all its chains have been returned.
  func stop(queue: Int)
}

extension SoftwareDevice {
  /// None.
  public var features: Features { [] }
  /// One.
  public var queueCount: Int { 1 }
  /// There is none.
  public var configuration: [UInt8] { [] }
  /// There is none.
  public var stateTransfer: (any StateTransfer & Sendable)? { nil }
  /// Nothing is ever left over.
  public func service(queue: Int) -> Int { 0 }
  /// Nothing to wait for.
  public func wakeup(queue: Int) -> OwnedFD? { nil }
  /// Nothing is saved by not waking.
  public func wantWakeups(_ wanted: Bool, queue: Int) {}
  /// Nothing to prepare.
  public func start(queue: Int, context: QueueContext) throws {}
  /// Nothing to put away.
  public func stop(queue: Int) {}
}
