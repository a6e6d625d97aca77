import Control
import Testing

/// What a method is encoded as is what its rules let through, member for member.
struct ControlMethodTests {
  private static func check<Method: ControlMethod>(_ full: Method) throws {
    let value = try JSONValue(json: try full.lineJSON())
    #expect(try ParameterRule.check(value, Method.parameters) == value)
    guard case .object(let members) = value else {
      Issue.record("\(Method.name) is no object")
      return
    }
    #expect(Set(members.keys) == Set(Method.parameters.map(\.name)), "\(Method.name)")
    // And comes back from it.
    #expect(try JSONValue(json: try Method(json: try value.lineJSON()).lineJSON()) == value)
  }

  @Test("Each method has the parameters that it says")
  func parameters() throws {
    let numbers = DeviceNumbers(engine: -1, device: -1)
    var add = SocketMethod.Add(name: "vm0", path: "/run/vm0.sock")
    (add.type, add.client, add.queues, add.port, add.blkFile) = ("net", true, 2, "echo", "/disk")
    (add.engine, add.device, add.candidates, add.failover) = (0, 1, [numbers], "software")
    try Self.check(add)
    try Self.check(EngineMethod.List())
    try Self.check(EngineMethod.Show(id: 0))
    try Self.check(EngineMethod.Add(driver: "simulator", address: "virtual", parameters: ["devices": "4"]))
    try Self.check(EngineMethod.Remove(id: 0))
    try Self.check(DeviceMethod.List())
    try Self.check(DeviceMethod.Show(numbers))
    try Self.check(SocketMethod.List())
    try Self.check(SocketMethod.Show(name: "vm0"))
    try Self.check(SocketMethod.Remove(name: "vm0"))
    try Self.check(SocketMethod.Bind(name: "vm0", to: numbers))
    try Self.check(SocketMethod.Unbind(name: "vm0"))
    try Self.check(StatsMethod(socket: "vm0"))
    try Self.check(DescribeMethod())
  }

  @Test("A device is written as its engine's id, a slash, and its number")
  func numbers() {
    #expect(DeviceNumbers("0/1") == DeviceNumbers(engine: 0, device: 1))
    #expect(DeviceNumbers("-1/-1")?.description == "-1/-1")
    for text in ["", "1", "1/", "/1", "1/2/3", "a/1", "1 /2"] { #expect(DeviceNumbers(text) == nil) }
  }
}
