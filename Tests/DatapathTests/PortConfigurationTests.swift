import Testing

@testable import Datapath

struct PortConfigurationTests {
  @Test(
    "A port is read as it is written",
    arguments: [
      ("loopback", PortConfiguration.loopback), ("sink", .sink), ("echo", .echo), ("source", .source(length: 64)),
      ("source=60", .source(length: 60)), ("source=1500", .source(length: 1500)),
      ("source=9018", .source(length: 9018)), ("tap=tap0", .tap(name: "tap0")),
      ("tap=a-long.name_15", .tap(name: "a-long.name_15")), ("switch=lan", .switch(name: "lan")),
      ("switch=a=b", .switch(name: "a=b")),
    ])
  func parse(text: String, port: PortConfiguration) throws {
    #expect(try PortConfiguration(parsing: text) == port)
    #expect(try PortConfiguration(parsing: port.description) == port)
  }

  @Test(
    "What is no port is refused, with what there is",
    arguments: ["", "Loopback", "loopback=1", "sink=", "echo=x", "taps", "=64", "source ", " sink"])
  func unknown(text: String) throws {
    let error = try #require(throws: DatapathError.self) { try PortConfiguration(parsing: text) }
    #expect(error.code == .badConfiguration)
    #expect(error.description.contains("\"\(text)\""))
    #expect(error.description.contains("loopback, sink, source, source=LENGTH, echo, tap=NAME and switch=NAME"))
  }

  @Test(
    "A length that no source can send is refused, with the range",
    arguments: ["source=", "source=59", "source=9019", "source=-64", "source=6 4", "source=99999999999999999999"])
  func length(text: String) throws {
    let error = try #require(throws: DatapathError.self) { try PortConfiguration(parsing: text) }
    #expect(error.code == .badConfiguration)
    #expect(error.description.contains("60 to 9018"))
  }

  @Test(
    "A name that no network device can have, or no switch, is refused",
    arguments: [
      "tap", "tap=", "tap=a-name-too-long-", "tap=..", "tap=a/b", "tap=a b", "tap=tap%d", "tap=a:1", "tap=\u{e9}",
      "tap=a\u{7f}", "switch", "switch=", "switch=a,b",
    ])
  func name(text: String) throws {
    let error = try #require(throws: DatapathError.self) { try PortConfiguration(parsing: text) }
    #expect(error.code == .badConfiguration)
    #expect(error.description.contains("port \(text): ") && error.description.contains("=NAME takes"))
  }
}
