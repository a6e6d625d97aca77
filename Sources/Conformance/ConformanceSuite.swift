public import VDPA
public import Virtio

/// Checks a device of an engine by the rules that every device keeps.
///
///     let suite = ConformanceSuite(driver: MyDriver(), address: EngineAddress("0000:03:00.0"), type: .net)
///     print(suite.run())
///
/// Each rule is checked with an engine started anew and a device that the bus driver `virtio` claims. A net device has to give every
/// packet back on the pair that it came on (a loopback), and the beginning of a disk is overwritten. Waiting has limits; nothing is
/// measured.
public struct ConformanceSuite: Sendable {
  /// Where the device is.
  enum Subject: Sendable {
    case device(any EngineDriver, EngineAddress, Int)
    case software(any Engine)
  }

  let subject: Subject
  let type: DeviceType
  let queues: Int?
  let parameters: Parameters
  let software: (any Engine)?
  let softwareParameters: Parameters

  /// The longest that a device may take for anything.
  public var patience = Duration.seconds(30)

  /// A suite for a device of an engine.
  ///
  /// - Parameters:
  ///   - driver: The engine's driver.
  ///   - address: Where the engine is, and how it is set up.
  ///   - device: The device's number.
  ///   - type: Its virtio type: net or block.
  ///   - queues: With how many queues at most; nil for all.
  ///   - parameters: Settings for the device itself.
  ///   - software: A software engine with which rings are handed over, to and fro; nil for the next device of the same engine.
  ///   - softwareParameters: Settings for its device, which has to be the same to a guest.
  public init(
    driver: any EngineDriver, address: EngineAddress, device: Int = 0, type: DeviceType, queues: Int? = nil,
    parameters: Parameters = [:], software: (any Engine)? = nil, softwareParameters: Parameters = [:]
  ) {
    subject = .device(driver, address, device)
    self.type = type
    self.queues = queues
    self.parameters = parameters
    self.software = software
    self.softwareParameters = softwareParameters
  }

  /// A suite for the devices that an engine −1 makes.
  ///
  /// - Parameters:
  ///   - engine: The engine; who made it stops it.
  ///   - type: The virtio type: net or block.
  ///   - queues: How many queues; nil for as many as there are.
  ///   - parameters: Settings for the device itself. Two have to be possible at one time.
  public init(software engine: any Engine, type: DeviceType, queues: Int? = nil, parameters: Parameters = [:]) {
    subject = .software(engine)
    self.type = type
    self.queues = queues
    self.parameters = parameters
    software = engine
    softwareParameters = parameters
  }

  /// Checks the device by all rules, or some.
  public func run(_ rules: [ConformanceRule] = Conformance.rules) -> ConformanceReport {
    ConformanceReport(subject: name, results: rules.map(check))
  }

  /// Checks the device by one rule.
  public func check(_ rule: ConformanceRule) -> ConformanceResult {
    ConformanceResult(rule: rule, outcome: outcome(of: rule))
  }

  private func outcome(of rule: ConformanceRule) -> ConformanceResult.Outcome {
    do {
      let bench = try ConformanceBench(self)
      let checked = Result { try rule.check(bench) }
      let ended = Result { try bench.end() }
      // What a device does wrong in its life is told before what comes of it at its end.
      try checked.get()
      try ended.get()
      return .passed
    } catch ConformanceEnd.violation(let reason) {
      return .failed(reason: reason)
    } catch ConformanceEnd.skip(let missing) {
      return .skipped(missing: missing)
    } catch {
      return .failed(reason: "\(error)")
    }
  }

  private var name: String {
    switch subject {
    case .device(let driver, let address, let device): "\(driver.name) at \(address), device \(device) (\(type))"
    case .software: "\(Registry.softwareName) (\(type))"
    }
  }
}
