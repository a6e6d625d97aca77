import Datapath
import Glibc
import SimulatorEngine
import VDPA
import Virtio

/// A registry with software and a simulator, whose devices this process drives.
struct Bench {
  /// Which device.
  enum Kind: CaseIterable {
    case software, simulator
  }

  let software: SoftwareEngine
  let registry: Registry
  let engine: EngineHandle

  init(simulator: Parameters = ["devices": "2", "queues": "2"]) throws {
    software = try SoftwareEngine()
    registry = Registry(software: software)
    try registry.register(SimulatorDriver())
    engine = try registry.addEngine(driver: "simulator", at: EngineAddress("virtual", parameters: simulator))
  }

  func claim(_ kind: Kind, pairs: Int = 2) throws -> DrivenDevice {
    switch kind {
    case .software:
      try VirtioDriver(registry).claim(.software, type: .net, queues: pairs, parameters: ["port": "loopback"])
    case .simulator:
      try VirtioDriver(registry).claim(DeviceHandle(engine: engine, device: 0), type: .net, queues: pairs)
    }
  }

  func end() throws {
    try registry.removeEngine(engine)
    software.stop()
  }

  static func features(_ format: RingLayout.Format) -> Features {
    let features: Features = [.version1, .netMergeableBuffers, .eventIndex, .indirectDescriptors]
    return format == .packed ? features.union(.packedRing) : features
  }

  /// A guest of that many pairs, and traffic for it.
  static func traffic(
    _ device: DrivenDevice, pairs: Int = 2, ringSize: Int = 64, startingAt start: UInt16? = nil
  ) throws -> LoopbackTraffic {
    let guest = try device.makeGuest(
      vringCount: 2 * pairs, ringSize: ringSize,
      bufferBytes: LoopbackTraffic.bufferBytes(ringSize: ringSize, pairs: pairs), regionCount: 3, startingAt: start)
    return try LoopbackTraffic(guest)
  }
}
