internal import Virtio

/// Sends and receives single packets over one queue pair of a guest (virtio 1.2, §5.1.6).
///
/// For many packets at once, checked, there is ``LoopbackTraffic``. One of both has a pair, not both. For one thread.
public final class NetPairDriver {
  package static let bufferLength = 2048

  /// How much memory the buffers of a pair take, in bytes.
  public static func bufferBytes(count: Int) -> Int { 4 * count * bufferLength }

  private let guest: DriverGuest
  private let receiver: DriverVring
  private let transmitter: DriverVring
  private let headerLength: Int
  /// Where the device writes packets to.
  package private(set) var receiveBuffers: [UInt64] = []
  private var free: [UInt64] = []
  private var sending: [UInt16: UInt64] = [:]
  private var receiving: [UInt16: UInt64] = [:]

  /// Offers the device buffers to receive into.
  ///
  /// - Parameters:
  ///   - guest: With all the vrings of the pair, and memory for the buffers left.
  ///   - pair: Which one.
  ///   - count: How many buffers for each direction.
  /// - Throws: ``VDPAError`` `noResources`, when the guest has less memory left.
  public init(_ guest: DriverGuest, pair: Int = 0, buffers count: Int = 32) throws(VDPAError) {
    self.guest = guest
    (receiver, transmitter) = (guest.vrings[2 * pair], guest.vrings[2 * pair + 1])
    headerLength = NetHeader.length(for: guest.features)
    for _ in 0..<count { free.append(try guest.memory.allocate(NetPairDriver.bufferLength, alignment: 64)) }
    // On pages that the driver writes nothing to.
    for _ in 0..<count { receiveBuffers.append(try guest.memory.allocate(NetPairDriver.bufferLength)) }
    for buffer in receiveBuffers { offer(buffer) }
    receiver.publish()
  }

  private func offer(_ address: UInt64) {
    guard let id = receiver.add(writable: [(address, NetPairDriver.bufferLength)]) else { return }
    receiving[id] = address
  }

  /// Sends a packet without offloads.
  ///
  /// - Parameter packet: From its Ethernet header on, 2,036 bytes at most.
  /// - Returns: false when all buffers are with the device.
  /// - Throws: ``VringFault``.
  public func send(_ packet: [UInt8]) throws(VringFault) -> Bool {
    precondition(headerLength + packet.count <= NetPairDriver.bufferLength)
    while let (id, _) = try transmitter.collect() {
      if let buffer = sending.removeValue(forKey: id) { free.append(buffer) }
    }
    guard let buffer = free.last,
      let id = transmitter.add(readable: [(buffer, headerLength + packet.count)])
    else { return false }
    guest.memory.write([UInt8](repeating: 0, count: headerLength) + packet, at: buffer)
    sending[id] = free.removeLast()
    transmitter.publish()
    return true
  }

  /// Takes the next packet that has come.
  ///
  /// - Parameter time: How long to wait for one.
  /// - Returns: From its Ethernet header on; nil when none has come.
  /// - Throws: ``VringFault``.
  public func receive(within time: Duration = .zero) throws(VringFault) -> [UInt8]? {
    guard let first = try buffer(within: time) else { return nil }
    var packet = Array(first.dropFirst(headerLength))
    guard headerLength == NetHeader.modernLength, first.count >= headerLength else { return packet }
    let count = Int(first[NetHeader.bufferCountOffset]) | Int(first[NetHeader.bufferCountOffset + 1]) << 8
    for _ in 1..<max(count, 1) {
      // The buffers of a packet come back together.
      guard let more = try buffer(within: .zero) else {
        throw VringFault(index: receiver.index, reason: "a packet of \(count) buffers came in fewer")
      }
      packet += more
    }
    return packet
  }

  /// The bytes of the next buffer that comes back.
  private func buffer(within time: Duration) throws(VringFault) -> [UInt8]? {
    guard let (id, length) = try receiver.wait(for: time), let address = receiving.removeValue(forKey: id) else {
      return nil
    }
    let bytes = guest.memory.read(address, count: length)
    offer(address)
    receiver.publish()
    return bytes
  }
}
