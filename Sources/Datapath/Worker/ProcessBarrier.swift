internal import CLinux

/// Memory barriers of which one side pays nearly nothing and the other one everything (membarrier(2)).
enum ProcessBarrier {
  /// Whether the kernel does it for us; decided once, before the first worker runs.
  static let isAsymmetric = clinux_membarrier_register() == 0

  /// For the side that runs often: orders the compiler only, or everything where the kernel does not help.
  ///
  /// - Parameter isAsymmetric: ``ProcessBarrier/isAsymmetric``, which that side has at hand.
  @inline(__always) static func light(_ isAsymmetric: Bool) {
    if isAsymmetric { clinux_compiler_fence() } else { clinux_fence() }
  }

  /// For the side that runs rarely: makes every thread of the process pass a barrier.
  static func heavy() {
    clinux_fence()
    if isAsymmetric { _ = clinux_membarrier() }
  }
}
