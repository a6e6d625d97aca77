import Control
import ControlServer
import VDPA

/// What can be called over the control socket.
extension Daemon {
  var methods: MethodTable {
    var table = MethodTable()
    /// Errors of the framework keep their code and their words.
    func add<Method: ControlMethod>(
      _ method: Method.Type, _ body: @escaping @Sendable (Method) throws -> Method.Answer
    ) {
      table.add(method) { request in
        do { return try body(request) } catch { throw RPCError.of(error) }
      }
    }
    add(EngineMethod.List.self) { [self] _ in engineSummaries }
    add(EngineMethod.Show.self) { [self] in try engineDetail($0.id) }
    add(EngineMethod.Add.self) { [self] request in
      let handle = try registry.addEngine(
        driver: request.driver, at: EngineAddress(request.address, parameters: Parameters(request.parameters ?? [:])))
      return try engineDetail(handle.id).summary
    }
    add(EngineMethod.Remove.self) { [self] in
      try registry.removeEngine(try registry.engine(id: $0.id))
      return Nothing()
    }
    add(DeviceMethod.List.self) { [self] _ in deviceSummaries(of: registry.engines) }
    add(DeviceMethod.Show.self) { [self] in try deviceDetail(DeviceNumbers(engine: $0.engine, device: $0.device)) }
    add(SocketMethod.List.self) { [self] _ in sockets.map(\.summary) }
    add(SocketMethod.Show.self) { [self] in try socket($0.name).detail }
    add(SocketMethod.Add.self) { [self] in try self.add($0).summary }
    add(SocketMethod.Remove.self) { [self] in
      try remove($0.name)
      return Nothing()
    }
    add(SocketMethod.Bind.self) { [self] request in
      try bind(request.name, to: DeviceNumbers(engine: request.engine, device: request.device)).summary
    }
    add(SocketMethod.Unbind.self) { [self] in try unbind($0.name).summary }
    add(StatsMethod.self) { [self] request in
      let wanted = try request.socket.map { [try socket($0)] } ?? sockets
      return Statistics(sockets: wanted.map(\.statistics))
    }
    return table
  }
}
