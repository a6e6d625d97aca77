import ArgumentParser
import Datapath
import Glibc
import Logging
import SystemPackage
import VDPA
import VhostUser
import Virtio

/// The options of `vdpad serve`, checked and turned into what the framework takes.
struct ServeSettings {
  /// At least one.
  let sockets: [SocketConfiguration]
  let workers: WorkerConfiguration
  let queues: Int
  /// The engine's driver and its parameters; nil for software.
  let engine: (driver: String, parameters: Parameters)?
  let device: Int
  let statisticsInterval: Int?
  let logLevel: Logger.Level

  init(_ options: Serve) throws {
    let type: DeviceType
    switch options.type {
    case DeviceType.net.description: type = .net
    case DeviceType.block.description: type = .block
    default: throw ValidationError("--type \(options.type): this program serves net and block devices")
    }
    let endpoints: [SocketConfiguration.Endpoint]
    switch (options.socketPath, options.fd) {
    case (let paths, nil) where !paths.isEmpty:
      endpoints = paths.map { options.client ? .connect(path: $0) : .listen(path: $0) }
    case ([], .some) where options.client: throw ValidationError("--client needs the --socket-path to connect to")
    case ([], let fd?) where fd >= 0: endpoints = [.inherited(FileDescriptor(rawValue: fd))]
    case ([], .some): throw ValidationError("--fd is a descriptor's number, 0 or more")
    default: throw ValidationError("give one of --socket-path and --fd")
    }
    if let path = options.socketPath.first(where: { path in options.socketPath.count(where: { $0 == path }) > 1 }) {
      throw ValidationError("--socket-path \(path) is given twice")
    }
    guard endpoints.count == 1 || options.engine == nil else {
      throw ValidationError("a device of an --engine serves one socket: give one --socket-path")
    }
    if options.client || options.fd != nil,
      let (name, _) = [("--socket-mode", options.socketMode), ("--socket-owner", options.socketOwner)].first(where: {
        $0.1 != nil
      })
    {
      throw ValidationError("\(name) is for a socket that is made here: not with --client or --fd")
    }
    queues = options.queues ?? 1
    // What a connection can name in eight bits.
    let mostQueues = 256 / type.ringsPerQueue
    guard (1...mostQueues).contains(queues) else {
      throw ValidationError("--queues is 1 to \(mostQueues) for a \(type) device")
    }
    engine = try options.engine.map(ServeSettings.engine)
    guard options.device == nil || engine != nil else {
      throw ValidationError("--device is a device of an engine: give --engine too")
    }
    device = options.device ?? 0
    if let interval = options.stats, !(1...86400).contains(interval) {
      throw ValidationError("--stats is 1 to 86400 seconds")
    }
    statisticsInterval = options.stats
    logLevel = try ServeSettings.level(options.logLevel)

    let modes: [(isWanted: Bool, mode: WorkerConfiguration.Mode)] = [
      (options.poll, .poll), (options.adaptive, .adaptive), (options.event, .event),
    ]
    let wanted = modes.filter(\.isWanted)
    guard wanted.count <= 1 else { throw ValidationError("give one of --poll, --adaptive and --event") }
    workers = WorkerConfiguration(
      mode: wanted.first?.mode ?? .event, cpus: try options.cpu.map(ServeSettings.cpus) ?? [])

    let parameters = try ServeSettings.parameters(options, type: type, isSoftware: engine == nil)
    var socket = SocketConfiguration(endpoint: endpoints[0], type: type, parameters: parameters)
    if let mode = options.socketMode {
      guard let bits = UInt32(mode, radix: 8), bits <= 0o777 else {
        throw ValidationError("--socket-mode is octal permission bits, such as 0660")
      }
      socket.mode = bits
    }
    if let owner = options.socketOwner {
      let parts = owner.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      socket.owner = try ServeSettings.user(parts[0])
      if parts.count == 2 { socket.group = try ServeSettings.group(parts[1]) }
    }
    sockets = endpoints.map { endpoint in
      var own = SocketConfiguration(endpoint: endpoint, type: type, parameters: parameters)
      (own.mode, own.owner, own.group) = (socket.mode, socket.owner, socket.group)
      return own
    }
  }

  /// What the device is told: a software device what it is made of, another one nothing.
  private static func parameters(_ options: Serve, type: DeviceType, isSoftware: Bool) throws -> Parameters {
    let ofNet: [(String, String?)] = [
      ("--port", options.port), ("--offloads", options.offloads ? "on" : nil),
    ]
    let ofBlock: [(String, String?)] = [
      ("--blk-file", options.blkFile), ("--read-only", options.readOnly ? "true" : nil), ("--serial", options.serial),
      ("--blk-io", options.blkIo), ("--blk-shared", options.blkShared ? "true" : nil),
    ]
    if let (name, _) = (type == .net ? ofBlock : ofNet).first(where: { $0.1 != nil }) {
      throw ValidationError("\(name) is not for a \(type) device")
    }
    if !isSoftware, let (name, _) = (ofNet + ofBlock).first(where: { $0.1 != nil }) {
      throw ValidationError("\(name) is for the software datapath; with --engine the device decides")
    }
    var parameters: Parameters = [:]
    guard isSoftware else { return parameters }
    if type == .net {
      parameters["port"] = try PortConfiguration(parsing: options.port ?? "loopback").description
      if options.offloads { parameters["offloads"] = "on" }
    } else {
      guard let file = options.blkFile else { throw ValidationError("a block device needs a file: --blk-file") }
      parameters["blk-file"] = file
      if options.readOnly { parameters["read-only"] = "true" }
      if options.blkShared { parameters["shared"] = "true" }
      parameters["serial"] = options.serial
      parameters["io"] = options.blkIo
    }
    return parameters
  }

  /// `simulator:devices=2,queues=1`
  private static func engine(_ text: String) throws -> (driver: String, parameters: Parameters) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    return (parts[0], parts.count == 2 ? try Parameters(parsing: parts[1]) : [:])
  }

  /// `debug`
  static func level(_ text: String) throws -> Logger.Level {
    guard let level = Logger.Level(rawValue: text) else {
      throw ValidationError("--log-level is one of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return level
  }

  /// `0,2-3`
  static func cpus(_ text: String) throws -> [Int] {
    try text.split(separator: ",", omittingEmptySubsequences: false).flatMap { item -> [Int] in
      let ends = item.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { Int($0) }
      guard let first = ends[0], let last = ends[ends.count - 1], (0...first).contains(0), first <= last, last < 4096
      else { throw ValidationError("--cpu \(text) is not a list of CPUs such as 0,2-3") }
      return Array(first...last)
    }
  }

  private static func user(_ text: String) throws -> UInt32 {
    if let number = UInt32(text) { return number }
    guard let entry = unsafe getpwnam(text) else { throw ValidationError("--socket-owner: there is no user \(text)") }
    return unsafe entry.pointee.pw_uid
  }

  private static func group(_ text: String) throws -> UInt32 {
    if let number = UInt32(text) { return number }
    guard let entry = unsafe getgrnam(text) else { throw ValidationError("--socket-owner: there is no group \(text)") }
    return unsafe entry.pointee.gr_gid
  }
}
