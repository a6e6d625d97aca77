internal import VDPA

extension VhostUserError {
  /// What a guest without a VM lacks: memory, or descriptors.
  init(_ error: VDPAError) { self.init(.system, error.message, errno: error.underlying) }

  /// What a back-end did in a ring.
  init(_ fault: VringFault) {
    self = VhostUserError(.backendFault, fault.reason).with(ring: fault.index)
  }
}
