import Datapath
import Synchronization
import VDPA

/// A driver of engines with one device, which is right but for one thing.
struct WrongDriver: EngineDriver {
  let name = "wrong"
  /// nil for an engine that is right.
  let fault: Wrong.Fault?

  func start(at address: EngineAddress) throws -> any Engine { WrongEngine(try SoftwareEngine(), fault) }
}

/// The software datapath's loopback device, put on the bus as that of an engine, and tampered with.
final class WrongEngine: Engine {
  private let software: SoftwareEngine
  private let fault: Wrong.Fault?
  private let claims = Atomic<Int>(0)

  init(_ software: SoftwareEngine, _ fault: Wrong.Fault?) {
    self.software = software
    self.fault = fault
  }

  var attributes: EngineAttributes { EngineAttributes(deviceCount: 1) }

  func open(_ request: DeviceRequest) throws -> sending any Device {
    let claim = claims.add(1, ordering: .relaxed).newValue
    if fault == .isClaimedTwiceAtMost, claim > 2 { throw WrongError("it was claimed \(claim - 1) times") }
    var own = request
    own.device = -1
    own.queues = 2
    own.parameters = ["port": "loopback"]
    return WrongDevice(try software.open(own), fault, claim: claim)
  }

  func stop() { software.stop() }
}

struct WrongError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
