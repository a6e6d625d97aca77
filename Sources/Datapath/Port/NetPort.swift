internal import VDPA
internal import Virtio

/// What the software net datapath does with the packets of a queue pair. Each pair has one of its own.
protocol NetPort {
  /// A descriptor that becomes readable when there is something for the guest, watched edge-triggered by a worker that
  /// sleeps; nil if nothing comes but what the guest itself sends.
  var wakeup: OwnedFD? { get }

  /// Whether it wants to hear of the receiver (``receiverChanged(_:)``).
  var followsReceiver: Bool { get }

  /// Another guest begins: nothing is left of the one before. This and all that follows but `serve` is called between two
  /// turns.
  mutating func begin()

  /// Whether it has nothing to do, and will not have before the guest sends something; asked after a turn in which there
  /// was nothing to do. False unless said otherwise: whoever also waits for something else is served again and again.
  var isQuiet: Bool { get }

  /// The guest has gone.
  mutating func end()

  /// The receive ring was started, enabled, disabled or stopped, or nothing of it has changed.
  ///
  /// - Parameter receiver: Whoever receives; nil while nobody does.
  mutating func receiverChanged(_ receiver: NetGuest?)

  /// Takes a frame as if the guest had sent it.
  mutating func announce(_ frame: [UInt8])

  /// The worker is about to sleep: ``wakeup`` has to tell of anything that comes from now on. It looks once more.
  mutating func wantWakeup()

  /// Serves a pair once.
  ///
  /// - Parameters:
  ///   - receive: Where the guest receives; missing while it is stopped, and perhaps disabled.
  ///   - transmit: Where the guest sends; missing while it is stopped, else enabled.
  ///   - burst: For the packets; nothing in it is needed any more.
  /// - Returns: How many packets were moved, 0 when there was nothing to do or nothing could be done.
  mutating func serve(_ receive: inout NetVring?, _ transmit: inout NetVring?, _ burst: PacketBurst) -> Int
}

extension NetPort {
  var wakeup: OwnedFD? { nil }
  var followsReceiver: Bool { false }
  func begin() {}
  var isQuiet: Bool { false }
  func end() {}
  func receiverChanged(_ receiver: NetGuest?) {}
  func announce(_ frame: [UInt8]) {}
  func wantWakeup() {}
}
