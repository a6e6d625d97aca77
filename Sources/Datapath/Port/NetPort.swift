internal import Virtio

/// What the software net datapath does with the packets of a queue pair. Each pair has one of its own.
protocol NetPort {
  /// Another guest begins: nothing is left of the one before.
  mutating func begin()

  /// Whether it has nothing to do, and will not have before the guest sends something; asked after a turn in which there
  /// was nothing to do. False unless said otherwise: whoever also waits for something else is served again and again.
  var isQuiet: Bool { get }

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
  func begin() {}
  var isQuiet: Bool { false }
}
