internal import Glibc
internal import VDPA

/// A packet there and back.
final class NetProbe: Probe {
  static let buffers = 4
  private let pair: NetPairDriver
  private let patience: Duration
  private var number: UInt64 = 0

  init(_ guest: DriverGuest, pair: Int, patience: Duration) throws {
    self.pair = try NetPairDriver(guest, pair: pair, buffers: NetProbe.buffers)
    self.patience = patience
  }

  var answers: [Range<UInt64>] {
    pair.receiveBuffers.map { $0..<$0 + UInt64(NetPairDriver.bufferLength) }
  }

  func exchange() throws {
    let packet = next()
    let deadline = Deadline(after: patience)
    while try !pair.send(packet) {
      try require(!deadline.hasPassed, "the device returns none of \(NetProbe.buffers) buffers that it was to send")
      usleep(100)
    }
    let answer = try pair.receive(within: patience)
    try require(answer != nil, "a packet has not come back within \(patience)")
    try require(answer == packet, "another packet has come back than was sent")
  }

  /// Sends a packet, and takes whatever comes.
  func send() throws { _ = try pair.send(next()) }

  /// Whether a packet has come.
  func receive(within time: Duration) throws -> Bool { try pair.receive(within: time) != nil }

  private func next() -> [UInt8] {
    number += 1
    return NumberedPacket(pair: 0, number: number, time: 0, length: 60 + Int(number % 1000)).encoded
  }
}
