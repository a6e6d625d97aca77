import Testing
import VDPA
import Virtio

@testable import SimulatorEngine

struct SimulatorDriverTests {
  private func start(_ parameters: String, at text: String = "virtual") throws -> SimulatorEngine {
    let engine = try SimulatorDriver().start(at: EngineAddress(text, parameters: Parameters(parsing: parameters)))
    return try #require(engine as? SimulatorEngine)
  }

  private func open(_ engine: SimulatorEngine, device: Int = 0, queues: Int? = nil) throws -> any Device {
    try engine.open(DeviceRequest(device: device, owner: "vm0.sock", type: .net, queues: queues))
  }

  @Test func theDefaultsAreThoseOfTheKernelsSimulator() throws {
    let engine = try start("")
    defer { engine.stop() }
    #expect(engine.attributes.deviceCount == 1)
    let attributes = try open(engine).attributes
    #expect(attributes.type == .net)
    #expect(attributes.vringCount == 8)
    #expect(attributes.maxRingSize == 256)
    #expect(attributes.startsAnywhere && attributes.completesInOrder && attributes.operationsMayBlock)
    let offered: Features = [
      .version1, .anyLayout, .indirectDescriptors, .eventIndex, .packedRing, .inOrder, .accessPlatform,
      .netMergeableBuffers, .netMAC, .netStatus, .netMTU, .netControlQueue, .netControlReceive, .netGuestAnnounce,
      .netMultiqueue,
    ]
    #expect(attributes.features == offered)
    #expect(
      attributes.protocolFeatures
        == [.multiqueue, .replyAck, .status, .memorySlots, .logSharedMemory, .rarp, .mtu])
  }

  @Test func parametersMakeTheDevices() throws {
    let engine = try start("devices=3,queues=2,ring-size=1024,translation=platform,traffic=source,source-length=60")
    defer { engine.stop() }
    #expect(engine.attributes.deviceCount == 3)
    let device = try open(engine, device: 2)
    #expect(device.attributes.vringCount == 4)
    #expect(device.attributes.maxRingSize == 1024)
    let capabilities = device.capabilities
    #expect(capabilities.dmaTranslation == nil)
    #expect(capabilities.notifyArea == nil)
    #expect(capabilities.statistics?.vrings.count == 4)
    let configuration = try #require(NetConfiguration(decoding: capabilities.configuration?.bytes ?? []))
    #expect(configuration.mac.description == "02:76:64:70:61:02")
    #expect(configuration.maxQueuePairs == 2)
    #expect(configuration.mtu == 1500)
    #expect(configuration.status == NetConfiguration.linkUp)
    #expect(engine.simulatedDevice(2) != nil)
    #expect(engine.simulatedDevice(3) == nil)
    #expect(engine.simulatedDevice(-1) == nil)
  }

  @Test func aRequestCanAskForFewerQueues() throws {
    let engine = try start("queues=4")
    defer { engine.stop() }
    let one = try open(engine, queues: 1)
    #expect(one.attributes.vringCount == 2)
    #expect(!one.attributes.features.contains(.netMultiqueue))
    #expect(one.capabilities.dmaTranslation != nil)
    #expect(one.capabilities.statistics?.vrings.count == 2)
    #expect(try open(engine, queues: 9).attributes.vringCount == 8)
    #expect(throws: SimulatorError.self) { try open(engine, queues: 0) }
    #expect(throws: VDPAError.self) { try open(engine, device: 1) }
    #expect(throws: VDPAError.self) {
      try engine.open(DeviceRequest(device: 0, owner: "vm0", type: .net, parameters: ["port": "sink"]))
    }
  }

  @Test(arguments: [
    "devices=0", "devices=65", "devices=x", "queues=0", "queues=129", "ring-size=0", "ring-size=300",
    "ring-size=65536", "translation=none", "translation=", "traffic=echo", "traffic=source,source-length=13",
    "traffic=source,source-length=65551", "source-length=64", "device=1", "type=rng", "order=any", "latency=-1",
    "latency=1000001", "seed=-1", "dirty-tracking=yes", "notify-area=1", "without=VIRTIO_F_RING_PACKE",
    "type=block,without=VIRTIO_NET_F_MAC", "capacity=64", "file=x", "type=block,traffic=sink", "type=block,capacity=0",
    "type=block,file=/dev/zero,capacity=1", "read-only=on", "type=block,read-only=true",
    "type=block,serial=123456789012345678901",
  ]) func aWrongParameterIsAnErrorThatNamesIt(parameters: String) throws {
    let error = #expect(throws: (any Error).self) { try start(parameters) }
    let name = parameters.split(separator: ",").last?.split(separator: "=").first.map(String.init) ?? ""
    #expect("\(String(describing: error))".contains(name))
  }

  @Test func theAddressIsVirtual() throws {
    let error = #expect(throws: SimulatorError.self) { try start("", at: "0000:01:00.0") }
    #expect(error?.code == .badAddress)
    #expect(error?.description.contains("\"virtual\"") == true)
  }

  @Test func theLargestValuesWork() throws {
    let engine = try start("devices=64,queues=128,ring-size=32768,traffic=source,source-length=65550")
    defer { engine.stop() }
    #expect(try open(engine, device: 63).attributes.vringCount == 256)
  }

  @Test func aStoppedEngineSaysSo() throws {
    let engine = try start("")
    engine.stop()
    engine.stop()
    let error = #expect(throws: SimulatorError.self) { try open(engine) }
    #expect(error?.code == .stopped)
  }
}
