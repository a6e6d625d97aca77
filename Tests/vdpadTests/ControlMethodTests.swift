import Control
import FrontEndTestSupport
import Peers
import Testing

/// Every method of a running daemon, with parameters that are missing, too many, of another type, and too large.
@Suite(.serialized)
struct ControlMethodTests {
  /// A method as a client would call it, with the smallest parameters that are right.
  private struct Call {
    let name: String
    let rules: [ParameterRule]

    init<Method: ControlMethod>(_ method: Method.Type) { (name, rules) = (Method.name, Method.parameters) }

    static let all = [
      Call(EngineMethod.List.self), Call(EngineMethod.Show.self), Call(EngineMethod.Add.self),
      Call(EngineMethod.Remove.self), Call(DeviceMethod.List.self), Call(DeviceMethod.Show.self),
      Call(SocketMethod.List.self), Call(SocketMethod.Show.self), Call(SocketMethod.Add.self),
      Call(SocketMethod.Remove.self), Call(SocketMethod.Bind.self), Call(SocketMethod.Unbind.self),
      Call(StatsMethod.self), Call(DescribeMethod.self),
    ]

    /// All parameters, of the right type, for things that do not exist.
    var full: [String: JSONValue] {
      Dictionary(uniqueKeysWithValues: rules.map { ($0.name, Self.sample($0.kind)) })
    }

    static func sample(_ kind: ParameterRule.Kind) -> JSONValue {
      switch kind {
      case .string: .text("none")
      case .integer(let range): .number(range.upperBound)
      case .boolean: .bool(true)
      case .choice(let choices): .text(choices[0])
      case .strings: .object(["none": .text("none")])
      case .list(let element, _): .array([sample(element)])
      case .object(let rules): .object(Dictionary(uniqueKeysWithValues: rules.map { ($0.name, sample($0.kind)) }))
      }
    }

    /// Values of another type.
    static func mistyped(_ kind: ParameterRule.Kind) -> [JSONValue] {
      let all: [JSONValue] = [
        .null, .bool(true), .integer(7), .unsigned(.max), .fraction(1.5), .text("none"), .array([.null]),
        .object(["none": .null]),
      ]
      return all.filter { value in
        switch (kind, value) {
        case (.string, .text), (.integer, .integer), (.boolean, .bool): false
        default: true
        }
      }
    }

    /// A value of the right type that is too large; nil where none can be.
    static func oversized(_ kind: ParameterRule.Kind) -> JSONValue? {
      switch kind {
      case .string(let most): .text(String(repeating: "x", count: most + 1))
      case .integer(let range): .number(range.upperBound + 1)
      case .boolean: nil
      case .choice: .text(String(repeating: "x", count: 1000))
      case .strings(_, let bytes): .object(["none": .text(String(repeating: "x", count: bytes + 1))])
      case .list(let element, let most): .array([JSONValue](repeating: sample(element), count: most + 1))
      case .object: nil
      }
    }
  }

  private struct Request: Encodable {
    let jsonrpc = "2.0"
    let id = 1
    let method: String
    let params: JSONValue
  }

  private static func error(_ client: ControlClient, _ call: Call, _ params: [String: JSONValue]) throws -> RPCError? {
    try client.send(try Request(method: call.name, params: .object(params)).lineJSON() + [10])
    return try RPCResponse<JSONValue>(json: try client.receive()).error
  }

  @Test("Each wrong parameter of each method is an error that names it, and nothing has changed")
  func parameters() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      let client = try daemon.client()
      let described = try client.call(DescribeMethod()).map(\.name)
      #expect(Set(described) == Set(Call.all.map(\.name)), "a method has no test")
      for call in Call.all {
        func expect(_ params: [String: JSONValue], wrong parameter: String) throws {
          let error = try Self.error(client, call, params)
          #expect(error?.code == -32602, "\(call.name) \(params)")
          let named = error?.data?.parameter
          #expect(named?.hasPrefix(parameter) == true, "\(call.name) \(params): \(error?.message ?? "done")")
          #expect(error?.message.contains(parameter) == true)
        }
        try expect(call.full.merging(["surplus": .integer(1)]) { $1 }, wrong: "surplus")
        for rule in call.rules {
          var params = call.full
          for value in Call.mistyped(rule.kind) {
            params[rule.name] = value
            try expect(params, wrong: rule.name)
          }
          if let value = Call.oversized(rule.kind) {
            params[rule.name] = value
            try expect(params, wrong: rule.name)
          }
          params[rule.name] = nil
          if rule.isRequired { try expect(params, wrong: rule.name) }
        }
      }
      #expect(try client.call(SocketMethod.List()).isEmpty)
      #expect(try client.call(EngineMethod.List()).map(\.id) == [-1])
      #expect(try daemon.end() == .exited(0))
    }
  }

  /// The framework's code of the error that a call ends in.
  private static func code<Method: ControlMethod>(_ client: ControlClient, _ method: Method) throws -> String? {
    do {
      _ = try client.call(method)
      return nil
    } catch let error as RPCError {
      return error.data?.code
    }
  }

  @Test("What cannot be done is refused with the framework's code")
  func refused() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      let client = try daemon.client()
      func socket(_ name: String, _ path: String, _ adjust: (inout SocketMethod.Add) -> Void = { _ in })
        -> SocketMethod.Add
      {
        var add = SocketMethod.Add(name: name, path: path)
        adjust(&add)
        return add
      }
      let path = daemon.file("vm0")
      #expect(try client.call(EngineMethod.Add(driver: "simulator", address: "virtual")).id == 0)
      _ = try client.call(socket("vm0", path) { ($0.engine, $0.device) = (0, 0) })
      let other = daemon.file("vm1")
      for (name, wanted) in [
        ("socketExists", socket("vm0", other)), ("pathInUse", socket("vm1", path)),
        ("invalidParams", socket("a b", other)), ("invalidParams", socket("-a", other)),
        ("invalidParams", socket("vm1", "relative")), ("invalidParams", socket("vm1", other) { $0.engine = 0 }),
        ("invalidParams", socket("vm1", other) { $0.device = 0 }),
        ("invalidParams", socket("vm1", other) { $0.queues = 129 }),
        ("invalidParams", socket("vm1", other) { $0.blkFile = "/dev/zero" }),
        ("invalidParams", socket("vm1", other) { $0.type = "block" }),
        ("invalidParams", socket("vm1", other) { ($0.type, $0.port) = ("block", "echo") }),
        ("badConfiguration", socket("vm1", other) { $0.port = "none" }),
        ("badPath", socket("vm1", daemon.file("none/vm1"))),
        ("deviceOpenFailed", socket("vm1", other) { ($0.type, $0.blkFile) = ("block", daemon.file("none")) }),
        ("deviceInUse", socket("vm1", other) { ($0.engine, $0.device) = (0, 0) }),
        ("unknownDevice", socket("vm1", other) { ($0.engine, $0.device) = (0, 1) }),
        ("unknownEngine", socket("vm1", other) { ($0.engine, $0.device) = (1, 0) }),
        ("unknownEngine", socket("vm1", other) { $0.candidates = [DeviceNumbers(engine: 1, device: 0)] }),
        ("notNegotiated", socket("vm0b", other) { ($0.engine, $0.device, $0.queues) = (1, 0, 9) }),
      ] {
        if name == "notNegotiated" {
          _ = try client.call(EngineMethod.Add(driver: "simulator", address: "virtual", parameters: ["queues": "2"]))
        }
        #expect(try Self.code(client, wanted) == name)
      }
      #expect(try Self.code(client, EngineMethod.Add(driver: "none", address: "virtual")) == "unknownDriver")
      #expect(try Self.code(client, EngineMethod.Add(driver: "simulator", address: "none")) == "engineStartFailed")
      #expect(try Self.code(client, EngineMethod.Remove(id: 0)) == "engineInUse")
      #expect(try Self.code(client, EngineMethod.Remove(id: -1)) == "engineInUse")
      #expect(try Self.code(client, EngineMethod.Show(id: 7)) == "unknownEngine")
      #expect(try Self.code(client, DeviceMethod.Show(DeviceNumbers(engine: 0, device: 7))) == "unknownDevice")
      #expect(try Self.code(client, DeviceMethod.Show(DeviceNumbers(engine: -1, device: -1))) == "unknownDevice")
      #expect(try Self.code(client, SocketMethod.Show(name: "vm")) == "unknownSocket")
      #expect(
        try Self.code(client, SocketMethod.Bind(name: "vm0", to: DeviceNumbers(engine: 9, device: 0)))
          == "unknownEngine")
      // Nothing of it is left.
      #expect(try client.call(SocketMethod.List()).map(\.name) == ["vm0"])
      _ = try client.call(SocketMethod.Remove(name: "vm0"))
      for id in [0, 1] { _ = try client.call(EngineMethod.Remove(id: id)) }
      #expect(try client.call(EngineMethod.List()).map(\.id) == [-1])
      #expect(try daemon.end() == .exited(0))
    }
  }

  @Test("A client that goes in the middle of a request does not keep others from theirs")
  func disconnect() async throws {
    try await blocking {
      let daemon = try ControlledDaemon()
      for length in [1, 40, 70] {
        let line =
          #"{"jsonrpc":"2.0","id":1,"method":"socket.add","params":{"name":"vm0","path":"\#(daemon.file("vm0"))"}}"#
        try daemon.client().send(Array(line.utf8.prefix(length)))
        #expect(try daemon.client().call(SocketMethod.List()).isEmpty)
      }
      // Whole, but without anybody who waits for the answer.
      let line =
        #"{"jsonrpc":"2.0","id":1,"method":"socket.add","params":{"name":"vm0","path":"\#(daemon.file("vm0"))"}}"#
      try daemon.client().send(Array((line + "\n").utf8))
      #expect(becomesTrue { (try? daemon.client().call(SocketMethod.List()).count) == 1 })
      try behaveWell(at: daemon.file("vm0"))
      #expect(try daemon.end() == .exited(0))
    }
  }
}
