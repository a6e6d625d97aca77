import VDPA
import Virtio

/// The guest's side of a queue pair.
final class TestPort {
  let receive: TestVring
  let transmit: TestVring
  let headerLength: Int

  init(
    _ guest: TestGuest, pair: Int = 0, size: Int = 64, receiveBuffer: Int = 2048, region: Int = 0,
    bufferRegion: Int? = nil, headerLength: Int = NetHeader.modernLength, features: Features = []
  ) throws {
    self.headerLength = headerLength
    receive = try TestVring(
      guest, index: 2 * pair, size: size, bufferSize: receiveBuffer, region: region, bufferRegion: bufferRegion,
      features: features)
    transmit = try TestVring(
      guest, index: 2 * pair + 1, size: size, region: region, bufferRegion: bufferRegion, features: features)
  }

  var vrings: [DeviceSetup.Vring] { [receive.vring(), transmit.vring()] }

  /// Gives the device all the receive buffers that there are.
  func refill() {
    while receive.addEmpty() {}
    receive.publish()
  }

  /// Sends packets; all of them must find room.
  func send(_ payloads: [[UInt8]]) {
    for payload in payloads {
      let isAdded = transmit.add([UInt8](repeating: 0, count: headerLength) + payload)
      precondition(isAdded, "the test's transmit ring is full")
    }
    transmit.publish()
  }

  /// Takes sent buffers back; how many.
  func reap() throws -> Int {
    var count = 0
    while try transmit.collect() != nil { count += 1 }
    return count
  }

  /// Takes a received packet: its payload, put together from as many buffers as its header says.
  func take() throws -> [UInt8]? {
    guard let first = try receive.collect() else { return nil }
    var packet = Array(first.dropFirst(headerLength))
    guard headerLength == NetHeader.modernLength else { return packet }
    let buffers = Int(first[NetHeader.bufferCountOffset]) | Int(first[NetHeader.bufferCountOffset + 1]) << 8
    for _ in 1..<max(buffers, 1) {
      // The buffers of a packet are announced together.
      guard let more = try receive.collect() else { throw DriverRing.DeviceFault.usedIndex }
      packet += more
    }
    return packet
  }

  /// All received packets that are there.
  func takeAll() throws -> [[UInt8]] {
    var packets: [[UInt8]] = []
    while let packet = try take() { packets.append(packet) }
    return packets
  }

  /// Waits for that many received packets; fewer when no more come.
  func take(_ count: Int) throws -> [[UInt8]] {
    var packets: [[UInt8]] = []
    _ = try eventually {
      packets += try takeAll()
      return packets.count >= count
    }
    return packets
  }

  /// Goes on where a device has stopped.
  func start(at states: [VringState]) {
    for state in states {
      if state.index == receive.index { receive.state = state }
      if state.index == transmit.index { transmit.state = state }
    }
  }

  /// Sends packets and takes them all back: what came, in the order in which it came. Ends early when nothing more comes.
  func roundTrip(_ payloads: [[UInt8]]) throws -> [[UInt8]] {
    var came: [[UInt8]] = []
    var sent = 0
    _ = try eventually {
      refill()
      while try transmit.collect() != nil {}
      while sent < payloads.count, transmit.add([UInt8](repeating: 0, count: headerLength) + payloads[sent]) {
        sent += 1
      }
      transmit.publish()
      while let packet = try take() { came.append(packet) }
      return came.count >= payloads.count
    }
    _ = try eventually {
      while try transmit.collect() != nil {}
      return transmit.driver.outstanding == 0
    }
    return came
  }
}

/// A packet that no other number or seed has.
func packet(_ number: Int, length: Int, seed: Int = 0) -> [UInt8] {
  (0..<length).map { i in
    i < 8 ? UInt8(truncatingIfNeeded: number >> (8 * i)) : UInt8(truncatingIfNeeded: number &* 31 &+ i &* 7 &+ seed)
  }
}
