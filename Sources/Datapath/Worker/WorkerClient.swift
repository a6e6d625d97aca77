internal import Virtio

/// Something that a worker serves: a queue pair, or a queue of another device type.
///
/// A client has any number of descriptors that its worker watches (``Worker/watch(_:of:source:)``): kicks, or an eventfd
/// by which its device tells that something has finished. They are watched edge-triggered and never read.
protocol WorkerClient: AnyObject, Sendable {
  /// What logs and errors call it.
  var name: String { get }

  /// Whether it has to be looked at without being woken, because one of its vrings has no kick descriptor.
  var needsPolling: Bool { get }

  /// Where it lives, for one that can be moved to another worker; else nil.
  var home: WorkerHome? { get }

  /// Serves it once; on its worker's thread only, like ``woken(by:)``.
  ///
  /// - Parameters:
  ///   - burst: The worker's own; empty or not, nothing in it is needed any more.
  ///   - isPolled: Whether the worker looks again by itself. If not, the client asks for whatever wakes it as soon as
  ///     there is nothing left to do, and then looks once more.
  /// - Returns: How much was done. 0: nothing, and in event mode the worker comes back only when it is woken.
  func serve(_ burst: PacketBurst, isPolled: Bool) -> Int

  /// How a worker that polls can see that there is nothing to do, without a turn; on its thread only, after a turn in which
  /// there was nothing to do. Nil, as unless said otherwise: by a turn only.
  func quietLook() -> QuietLook?

  /// One of its descriptors has become readable. It is served next.
  ///
  /// - Parameter source: The number that the descriptor is watched under.
  func woken(by source: Int)
}

extension WorkerClient {
  var home: WorkerHome? { nil }
  func quietLook() -> QuietLook? { nil }
}
