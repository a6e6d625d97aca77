import Glibc
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A guest that has arrived by migration is announced, and gets its MTU.
struct AnnouncementTests {
  private static let address = MACAddress("52:54:00:12:34:56") ?? .zero
  /// RFC 903, byte by byte.
  private static let frame: [UInt8] =
    [
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x80, 0x35,
      0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x03,
      0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0, 0, 0, 0,
    ] + [UInt8](repeating: 0, count: 18)

  private let burst = PacketBurst()

  private func announce(_ device: any Device) throws {
    try #require(device.capabilities.announcement).announce(Self.address)
  }

  private func payload(_ burst: PacketBurst, _ index: Int) -> [UInt8] {
    burst.withPayload(of: index) { span in (0..<span.count).map { span[$0] } }
  }

  @Test("The announcement is the next packet that an application takes, in front of what the guest has sent")
  func application() throws {
    #expect(Self.frame.count == 60 && ReverseARP.request(for: Self.address) == Self.frame)
    let served = try ServedGuest()
    // Nobody is there.
    try announce(served.device)
    try served.configure()
    served.guest.send(2)
    #expect(served.fromGuest.dequeueBurst(into: burst, limit: 1) == 1 && payload(burst, 0).count == 64)
    try announce(served.device)
    try announce(served.device)
    #expect(!served.fromGuest.requestWakeup())
    #expect(served.fromGuest.dequeueBurst(into: burst, limit: 0) == 0)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 2)
    #expect(burst.count == 3 && payload(burst, 1) == Self.frame && payload(burst, 2).count == 64)
    #expect(served.fromGuest.requestWakeup())
    served.guest.collect()
    #expect(served.guest.returned == 2)
    let statistics = served.fromGuest.statistics
    #expect(statistics.packets == 3 && statistics.bytes == 188 && statistics.broadcastPackets == 1)
  }

  @Test("It waits for room, is dropped where there can be none, and goes with its guest")
  func waiting() throws {
    let served = try ServedGuest()
    try served.configure()
    served.guest.send(32)
    served.fromGuest.dequeueBurst(into: burst)
    try announce(served.device)
    #expect(burst.isFull && served.fromGuest.dequeueBurst(into: burst) == 0)
    burst.clear()
    #expect(served.fromGuest.dequeueBurst(into: burst) == 1 && payload(burst, 0) == Self.frame)
    burst.clear()
    try announce(served.device)
    let small = PacketBurst(try PacketPool(count: 64, payloadLength: 59))
    #expect(served.fromGuest.dequeueBurst(into: small) == 0 && served.fromGuest.dequeueBurst(into: burst) == 0)
    try announce(served.device)
    _ = try served.close()
    #expect(served.fromGuest.dequeueBurst(into: burst) == 0)
  }

  @Test(
    "A built-in port counts it with what the guest has sent, and gives it to nobody: a loopback does not return it",
    arguments: ["loopback", "sink", "echo"])
  func ports(name: String) throws {
    let engine = try SoftwareEngine()
    defer { engine.stop() }
    let guest = try NumberedGuest()
    let device = try engine.open(
      DeviceRequest(device: -1, owner: "vm0", type: .net, parameters: ["port": name]))
    guest.offer(8)
    try device.configure(
      DeviceSetup(
        features: guest.features, memory: guest.snapshot(),
        vrings: [0, 1].map { DeviceSetup.Vring(guest.description(guest.start($0)), isEnabled: true) },
        observer: ServedGuest.Observer()))
    try announce(device)
    let statistics = try #require(device.capabilities.statistics).vrings
    #expect(statistics[1].packets == 1 && statistics[1].bytes == 60 && statistics[1].broadcastPackets == 1)
    for state in try device.close() { #expect(state.nextUsed == 0) }
    guest.collect()
    #expect(guest.received == 0 && guest.returned == 0 && guest.fault == nil)
  }

  @Test("The front-end sets the MTU that the guest is told, up to what the operator has allowed")
  func mtu() throws {
    let engine = try SoftwareEngine()
    defer { engine.stop() }
    for (parameters, most) in [([:], 65535), (["mtu": "9000"], 9000)] as [(Parameters, UInt16)] {
      let device = try engine.open(DeviceRequest(device: -1, owner: "vm0", type: .net, parameters: parameters))
      let control = try #require(device.capabilities.mtuControl)
      func told() -> UInt16? {
        device.capabilities.configuration.flatMap { NetConfiguration(decoding: $0.bytes) }?.mtu
      }
      for mtu in [68, 1280, most] as [UInt16] {
        try control.setMTU(mtu)
        #expect(told() == mtu)
      }
      for mtu in [0, 67] + (most < .max ? [most + 1] : []) as [UInt16] {
        let error = #expect(throws: DatapathError.self) { try control.setMTU(mtu) }
        #expect(error?.description.contains("\(mtu) bytes is not from 68 to \(most)") == true)
        #expect(told() == most)
      }
    }
  }
}
