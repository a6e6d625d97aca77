/// What becomes of a guest when the device fails that its socket is bound to.
public enum Failover: String, Sendable, Hashable, CaseIterable {
  /// Its rings are not served until another device is bound, or the guest's driver begins anew.
  case off
  /// Software takes over. It has to be the same device to the guest, so front-ends are offered what both have.
  case software
}
