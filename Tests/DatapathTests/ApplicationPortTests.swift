import Testing
import VDPA
import Virtio

@testable import Datapath

struct ApplicationPortTests {
  private func withEngine(_ body: (SoftwareEngine) throws -> Void) throws {
    let engine = try SoftwareEngine()
    defer { engine.stop() }
    try body(engine)
  }

  private func open(
    _ engine: SoftwareEngine, _ parameters: Parameters, owner: String = "vm0.sock", queues: Int? = nil
  ) throws -> any Device {
    try engine.open(
      DeviceRequest(device: -1, owner: owner, type: .net, queues: queues, parameters: parameters))
  }

  @Test("A port has queues with the indices of its vrings, two for each pair")
  func queues() throws {
    try withEngine { engine in
      let port = try engine.makeApplicationPort(named: "vm0", pairs: 3)
      #expect(port.pairs.map(\.receive.index) == [0, 2, 4] && port.pairs.map(\.transmit.index) == [1, 3, 5])
      #expect(port.pairs.allSatisfy { $0.receive.direction == .receive && $0.transmit.direction == .transmit })
    }
  }

  @Test("A device has the port's pairs, or as many of them as are wanted")
  func counts() throws {
    try withEngine { engine in
      let port = try engine.makeApplicationPort(named: "vm0", pairs: 3)
      #expect(try open(engine, port.parameters).attributes.vringCount == 6)
      #expect(try open(engine, port.parameters, queues: 2).attributes.vringCount == 4)
      var parameters = port.parameters
      parameters["mtu"] = "9000"
      let configuration = try #require(
        NetConfiguration(decoding: try open(engine, parameters).capabilities.configuration?.bytes ?? []))
      #expect(configuration.mtu == 9000 && configuration.maxQueuePairs == 3)
      #expect(throws: DatapathError.self) { try open(engine, port.parameters, queues: 0) }
      let error = try #require(throws: DatapathError.self) { try open(engine, port.parameters, queues: 4) }
      #expect(error.code == .badConfiguration && error.description.contains("4 queue pairs are wanted"), "\(error)")
      #expect(error.description.contains("vm0 has 3"), "\(error)")
    }
  }

  @Test("A port that nobody has made, or that was removed, is an error with its name")
  func unknown() throws {
    try withEngine { engine in
      let port = try engine.makeApplicationPort(named: "vm0")
      engine.removeApplicationPort(port)
      let error = try #require(throws: DatapathError.self) { try open(engine, port.parameters) }
      #expect(error.code == .badConfiguration && error.description.contains("\"vm0\""), "\(error)")
      // It can be made again, and the old one does not remove the new one.
      let again = try engine.makeApplicationPort(named: "vm0")
      engine.removeApplicationPort(port)
      _ = try open(engine, again.parameters)
    }
  }

  @Test("Names and numbers that make no port are refused", arguments: [("", 1), ("a,b", 1), ("vm0", 0), ("vm0", 129)])
  func refused(name: String, pairs: Int) throws {
    try withEngine { engine in
      let error = try #require(throws: DatapathError.self) {
        try engine.makeApplicationPort(named: name, pairs: pairs)
      }
      #expect(error.code == .badConfiguration)
    }
  }

  @Test("A name is given once")
  func names() throws {
    try withEngine { engine in
      _ = try engine.makeApplicationPort(named: "vm0")
      let error = try #require(throws: DatapathError.self) { try engine.makeApplicationPort(named: "vm0") }
      #expect(error.code == .inUse)
    }
  }

  @Test("One device at a time has the queues; another one cannot start meanwhile, and harms nothing")
  func oneAtATime() throws {
    let served = try ServedGuest()
    try served.configure()
    let other = try open(served.engine, served.port.parameters, owner: "vm1.sock")
    let guest = try NumberedGuest()
    let memory = try guest.snapshot()
    let setup = DeviceSetup(
      features: guest.features, memory: memory,
      vrings: [0, 1].map { DeviceSetup.Vring(guest.description(guest.start($0)), isEnabled: true) },
      observer: ServedGuest.Observer())
    let error = try #require(throws: DatapathError.self) { try other.configure(setup) }
    #expect(error.code == .inUse)
    #expect(error.description.contains("vm0.sock") && error.description.contains("vm1.sock"), "\(error)")
    // Nothing of it reaches the rings of the first.
    #expect(try other.close() == [])
    try other.memoryChanged(from: memory, to: try guest.snapshot())
    try other.setVring(guest.description(guest.start(1)), enabled: false)
    #expect(throws: DatapathError.self) { try other.capabilities.vringControl?.stopVring(1) }
    #expect(served.fromGuest.state == .running)
    served.guest.send(1)
    let burst = PacketBurst()
    #expect(served.fromGuest.dequeueBurst(into: burst) == 1)

    _ = try served.close()
    try other.configure(setup)
    guest.send(2)
    #expect(served.fromGuest.dequeueBurst(into: burst) == 2)
    #expect(try other.close().count == 2)
  }

  @Test("The command line has no application ports")
  func commandLine() {
    #expect(throws: DatapathError.self) { try PortConfiguration(parsing: "application:vm0") }
    #expect(throws: DatapathError.self) { try PortConfiguration(parsing: "application") }
  }
}
