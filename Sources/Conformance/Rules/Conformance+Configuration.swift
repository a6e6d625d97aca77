internal import VDPA
internal import Virtio

/// The configuration space.
extension Conformance {
  static let configuration = [
    ConformanceRule("configuration.readable", "The configuration space can be read, and stays what it is") { bench in
      let device = try configured(bench)
      let space = try device.readConfiguration()
      switch bench.suite.type {
      case .net:
        guard let net = NetConfiguration(decoding: space) else {
          throw ConformanceEnd.violation("\(space.count) bytes are no configuration space of a net device")
        }
        try require(
          !device.attributes.features.contains(.netMultiqueue)
            || Int(net.maxQueuePairs) >= device.attributes.queueCount,
          "it says that there are \(net.maxQueuePairs) queue pairs; there are \(device.attributes.queueCount)")
      case .block:
        guard let disk = BlockConfiguration(decoding: space), disk.capacity > 0 else {
          throw ConformanceEnd.violation("\(space.count) bytes say of no disk how large it is")
        }
      default: break
      }
      try require(try device.readConfiguration() == space, "it is read twice, and differs")
      try device.start(bench.guest(for: device, .split))
      try require(try device.readConfiguration() == space, "it differs while the device runs")
      try device.stop()
      try require(try device.readConfiguration() == space, "it differs after the device has run")
    },
    ConformanceRule("configuration.read-only", "A driver cannot write what it may only read") { bench in
      let device = try configured(bench)
      let space = try device.readConfiguration()
      // The MAC address, or the capacity of the disk.
      let count = bench.suite.type == .net ? 6 : 8
      try require(space.count >= count, "it has \(space.count) bytes only")
      // Whether that is refused or ignored is the device's business.
      try? device.writeConfiguration(space[..<count].map { ~$0 }, at: 0)
      let after = try device.readConfiguration()
      try require(after == space, "a driver has changed it from \(space[..<count]) to \(after.prefix(count))")
    },
  ]

  private static func configured(_ bench: ConformanceBench) throws -> DrivenDevice {
    let device = try bench.claim()
    guard device.context.hasConfiguration else { throw ConformanceEnd.skip(missing: "configuration space") }
    return device
  }
}
