extension Registry {
  /// An engine and what became of its devices.
  struct Entry {
    let handle: EngineHandle
    let driver: String
    let address: EngineAddress
    /// nil while it is being started or stopped, which happens outside of the lock.
    var engine: (any Engine)?
    /// How many devices it has on the bus.
    var deviceCount = 0
    /// Which device has been claimed by whom.
    var claims: [Int: Claim] = [:]
    /// Which device is for one bus driver only.
    var overrides: [Int: BusDriver] = [:]
  }

  struct Claim {
    let holder: BusDevice.Claim
    /// Tells the claim from a later one of the same device.
    let number: UInt64
    /// Known when the engine has handed the device out.
    var attributes: DeviceAttributes?
  }

  struct State {
    var drivers: [String: any EngineDriver] = [:]
    var engines: [Int: Entry] = [:]
    var generation: UInt64 = 0
    var claims: UInt64 = 0
    var rules: [MatchRule] = []
  }
}
