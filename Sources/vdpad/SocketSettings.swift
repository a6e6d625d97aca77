import Control
import Datapath
import VDPA
import VhostUser
import Virtio

/// What `socket.add` asks for, checked and turned into what the framework takes.
struct SocketSettings {
  let configuration: SocketConfiguration
  /// nil for software.
  let device: DeviceNumbers?
  /// nil for all that the device has.
  let queues: Int?

  init(_ request: SocketMethod.Add) throws {
    try SocketSettings.check(name: request.name)
    try SocketSettings.check(path: request.path, "path")
    switch (request.engine, request.device) {
    case (nil, nil): device = nil
    case (let engine?, let number?): device = DeviceNumbers(engine: engine, device: number)
    case (nil, _): throw RPCError.invalidParams("engine", "a device is one of an engine: give engine and device")
    case (_, nil): throw RPCError.invalidParams("device", "which device of the engine: give engine and device")
    }
    let type: DeviceType = request.type == DeviceType.block.description ? .block : .net
    let mostQueues = Limits.queues / type.ringsPerQueue
    guard request.queues ?? 1 <= mostQueues else {
      throw RPCError.invalidParams("queues", "a \(type) device has at most \(mostQueues) queues")
    }
    let isSoftware = device.map { $0.engine == DeviceHandle.software.engine.id } ?? true
    queues = request.queues ?? (isSoftware ? 1 : nil)
    var configuration = SocketConfiguration(
      name: request.name, endpoint: request.client == true ? .connect(path: request.path) : .listen(path: request.path),
      type: type, parameters: try SocketSettings.parameters(request, type, isSoftware: isSoftware))
    configuration.failover = request.failover.flatMap(Failover.init) ?? .off
    self.configuration = configuration
  }

  /// What a software device is told, now or when it gets the socket.
  private static func parameters(
    _ request: SocketMethod.Add, _ type: DeviceType, isSoftware: Bool
  ) throws -> Parameters {
    var parameters: Parameters = [:]
    if type == .net {
      guard request.blkFile == nil else { throw RPCError.invalidParams("blkFile", "a net device has no file") }
      parameters["port"] = try PortConfiguration(parsing: request.port ?? "loopback").description
    } else {
      guard request.port == nil else { throw RPCError.invalidParams("port", "a block device has no port") }
      guard request.blkFile != nil || !isSoftware && request.failover != Failover.software.rawValue else {
        throw RPCError.invalidParams("blkFile", "a software block device needs a file")
      }
      if let file = request.blkFile { try check(path: file, "blkFile") }
      parameters["blk-file"] = request.blkFile
    }
    return parameters
  }

  /// Names are typed, and stand in logs and in tables.
  private static func check(name: String) throws(RPCError) {
    guard let first = name.utf8.first, isLetterOrDigit(first),
      name.utf8.allSatisfy({ isLetterOrDigit($0) || "._:-".utf8.contains($0) })
    else {
      throw .invalidParams(
        "name", "a socket's name begins with a letter or a digit and has letters, digits and . _ : - only")
    }
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }

  /// The daemon's folder is not that of whoever asks.
  private static func check(path: String, _ parameter: String) throws(RPCError) {
    guard path.hasPrefix("/"), !path.utf8.contains(0) else {
      throw .invalidParams(parameter, "parameter \(parameter) is a path from the root, beginning with a slash")
    }
  }
}
