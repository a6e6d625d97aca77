internal import Virtio

/// Where the ports of a device's queue pairs come from: what they share, made or opened once.
enum PortSource {
  case loopback, sink, echo
  case source(length: Int)
  case tap(TapDevice)
  case `switch`(SwitchMember)

  /// Makes, opens or joins what a port needs.
  ///
  /// - Parameters:
  ///   - pairs: How many queue pairs the device has.
  ///   - owner: Whose port it is, for errors.
  ///   - switches: The switches of the engine.
  /// - Throws: ``DatapathError``, saying what an operator has to do.
  init(
    _ configuration: PortConfiguration, pairs: Int, owner: String, switches: Switches
  ) throws(DatapathError) {
    switch configuration {
    case .loopback: self = .loopback
    case .sink: self = .sink
    case .echo: self = .echo
    case .source(let length): self = .source(length: length)
    case .tap(let name): self = .tap(try TapDevice(name, queues: pairs, owner: owner))
    case .switch(let name): self = .switch(try switches.join(name, pairs: pairs, owner: owner))
    }
  }

  /// The port of a queue pair; once for each.
  func make(_ pair: Int) -> sending any NetPort {
    switch self {
    case .loopback: LoopbackPort()
    case .sink: SinkPort()
    case .echo: EchoPort()
    case .source(let length): SourcePort(length: length)
    case .tap(let device): TapPort(device.queues[pair])
    case .switch(let member): SwitchPort(member, pair: pair)
    }
  }
}
