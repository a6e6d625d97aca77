/// What a simulated device can do without, beside features (parameter `without`).
enum Omission: String, Sendable, Hashable, CaseIterable {
  /// It is closed as a whole (`VringControl`).
  case vringControl = "vring-control"
  /// It cannot stand still (`Suspension`).
  case suspension
  /// It counts nothing that others see (`DeviceStatistics`).
  case statistics
  /// It announces no guest (`GuestAnnouncement`).
  case announcement
  /// Its MTU is what it is (`MTUControl`).
  case mtuControl = "mtu-control"
  /// Its rings start at their beginning only.
  case anyStart = "any-start"
}
