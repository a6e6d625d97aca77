import Testing
import VDPA
import Virtio

@testable import Datapath

struct SoftwareNetDeviceTests {
  /// A device of a software engine that ends with the test's scope.
  private func withDevice<Result>(
    _ parameters: Parameters = [:], queues: Int? = nil, type: DeviceType = .net,
    _ body: (any Device) throws -> Result
  ) throws -> Result {
    let engine = try SoftwareEngine()
    defer { engine.stop() }
    let request = DeviceRequest(device: -1, owner: "vm0", type: type, queues: queues, parameters: parameters)
    return try body(try engine.open(request))
  }

  @Test("It has one queue pair, no MAC address and an MTU of 1500 bytes unless told otherwise")
  func defaults() throws {
    try withDevice { device in
      let attributes = device.attributes
      #expect(attributes.type == .net && attributes.vringCount == 2 && attributes.queueCount == 1)
      #expect(attributes.features.isSuperset(of: [.version1, .netMergeableBuffers, .netMTU]))
      #expect(attributes.features.isDisjoint(with: [.netMAC, .netMultiqueue, .netOffloads]))
      let configuration = try #require(
        NetConfiguration(decoding: device.capabilities.configuration?.bytes ?? []))
      #expect(configuration.mac == .zero && configuration.maxQueuePairs == 1 && configuration.mtu == 1500)
      #expect(device.capabilities.statistics?.vrings == [VringStatistics(), VringStatistics()])
    }
  }

  @Test("Its parameters are in its configuration space and in its features")
  func parameters() throws {
    try withDevice(["mac": "52:54:00:12:34:56", "mtu": "9000", "port": "sink", "offloads": "on"], queues: 4) { device in
      #expect(device.attributes.features.isSuperset(of: .netOffloads))
      #expect(device.attributes.vringCount == 8)
      #expect(device.attributes.features.isSuperset(of: [.netMAC, .netMultiqueue]))
      let configuration = try #require(
        NetConfiguration(decoding: device.capabilities.configuration?.bytes ?? []))
      #expect(configuration.mac.description == "52:54:00:12:34:56")
      #expect(configuration.maxQueuePairs == 4 && configuration.mtu == 9000)
    }
  }

  @Test(
    "A parameter that it does not know, or a value that it cannot take, is refused by name",
    arguments: [
      (["ports": "sink"], "ports"), (["port": "tap"], "tap"), (["mac": "52:54:00:12:34"], "mac=52:54:00:12:34"),
      (["mtu": "67"], "mtu=67"), (["mtu": "65536"], "mtu=65536"), (["mtu": "true"], "mtu=true"),
    ] as [([String: String], String)])
  func refused(parameters: [String: String], named: String) {
    #expect {
      try withDevice(Parameters(parameters)) { _ in }
    } throws: {
      "\($0)".contains(named)
    }
  }

  @Test("A device that fails after some of its rings were served says where these stand")
  func partialStart() throws {
    struct Silent: DeviceObserver { func deviceReports(_ report: DeviceReport) {} }
    let guest = try NumberedGuest()
    try withDevice { device in
      var second = guest.description(guest.start(1))
      second.used = NumberedGuest.end
      let vrings = [guest.description(guest.start(0)), second].map { DeviceSetup.Vring($0, isEnabled: true) }
      let setup = DeviceSetup(
        features: guest.features, memory: try guest.snapshot(), vrings: vrings, observer: Silent())
      let failure = try #require(throws: PartialStart.self) { try device.configure(setup) }
      #expect(failure.states == [guest.start(0)] && "\(failure)".contains("vring 1 cannot be served"))
      // None was served when the first one fails.
      var only = setup
      only.vrings = [setup.vrings[1]]
      #expect(throws: DatapathError.self) { try device.configure(only) }
    }
  }

  @Test("Queue counts that nobody can ask for are refused", arguments: [Int.min, -1, 0, 129, Int.max])
  func queues(count: Int) throws {
    let error = try #require(throws: DatapathError.self) { try withDevice(queues: count) { _ in } }
    #expect(error.code == .badConfiguration)
    #expect(error.description.contains("1 to 128"))
  }

  @Test("128 queue pairs are served")
  func most() throws {
    try withDevice(queues: 128) { #expect($0.attributes.vringCount == 256) }
  }

  @Test("Another virtio type is refused")
  func type() throws {
    let error = try #require(throws: DatapathError.self) { try withDevice(type: DeviceType(rawValue: 26)) { _ in } }
    #expect(error.code == .unsupportedType)
  }
}
