import CLinux
import Glibc
import Peers
import VDPA
import VhostUser
import Virtio

/// Sends one packet at a time over a pair whose back-end gives it back, and says how long each took.
struct SinglePackets {
  static let bufferLength = 2048
  /// How long a packet may take before it counts as lost, in nanoseconds.
  private static let patience: UInt64 = 5_000_000_000

  private let receive: DriverVring
  private let transmit: DriverVring
  private let receiveBuffer: UInt64
  private let transmitBuffer: UInt64
  private let length: Int

  /// Packets of `length` bytes over the first pair of a guest that is served.
  init(_ guest: FrontendGuest, length: Int) throws {
    let header = NetHeader.length(for: guest.features)
    receiveBuffer = try guest.memory.allocate(SinglePackets.bufferLength)
    transmitBuffer = try guest.memory.allocate(SinglePackets.bufferLength)
    // A broadcast of the protocol for local experiments (IEEE 802, EtherType 0x88B5).
    let start: [UInt8] = Array(repeating: 0xff, count: 6) + [0x02, 0, 0, 0, 0, 1, 0x88, 0xb5]
    guest.memory.write(
      Array(repeating: 0, count: header) + start + Array(repeating: 0x5a, count: length - start.count),
      at: transmitBuffer)
    (receive, transmit) = (guest.vrings[0], guest.vrings[1])
    self.length = header + length
    // The packet is looked for all the time.
    receive.setWantsCalls(false)
    transmit.setWantsCalls(false)
  }

  /// Sends so many packets, each after a pause.
  ///
  /// - Parameters:
  ///   - gap: The longest pause in microseconds; they are spread evenly from a tenth of it on.
  ///   - cpu: Where the calling thread runs meanwhile.
  /// - Returns: How long each took in nanoseconds.
  /// - Throws: ``PeerError`` `invalidRun`, for a packet that does not come back.
  func run(_ count: Int, gap: Int, cpu: Int) throws -> [UInt64] {
    pin([cpu])
    defer { pin(PeerCPU.allowed) }
    var times: [UInt64] = []
    times.reserveCapacity(count)
    for _ in 0..<count {
      _ = receive.add(writable: [(receiveBuffer, SinglePackets.bufferLength)])
      receive.publish()
      usleep(UInt32(Int.random(in: gap / 10...gap)))
      _ = transmit.add(readable: [(transmitBuffer, length)])
      let start = MonotonicClock.nanoseconds
      transmit.publish()
      while try receive.collect() == nil {
        guard MonotonicClock.nanoseconds - start < SinglePackets.patience else {
          throw PeerError(.invalidRun, "packet \(times.count) has not come back within five seconds")
        }
      }
      times.append(MonotonicClock.nanoseconds - start)
      while try transmit.collect() == nil {}
    }
    return times
  }

  private func pin(_ cpus: [Int]) {
    let numbers = cpus.map { CInt($0) }
    // The count is the array's own.
    _ = unsafe numbers.withUnsafeBufferPointer { unsafe clinux_pin($0.baseAddress, CInt($0.count)) }
  }
}
