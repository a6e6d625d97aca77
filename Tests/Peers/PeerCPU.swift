import CLinux

/// Which CPUs the two ends of a test run on, when nobody says.
package enum PeerCPU {
  /// The CPUs this process may run on.
  package static let allowed: [Int] = {
    var cpus = [Int32](repeating: 0, count: 1024)
    // The count given is the array's own.
    let found = unsafe clinux_allowed_cpus(&cpus, 1024)
    return found > 0 ? cpus.prefix(Int(found)).map(Int.init) : [0]
  }()

  /// The CPU of a back-end.
  package static var backEnd: Int { allowed[0] }
  /// The CPU of a front-end: another one, where there is another one.
  package static var frontEnd: Int { allowed.count > 1 ? allowed[1] : allowed[0] }

  /// Whether the CPU has AVX-512, as DPDK asks it.
  package static let hasAVX512: Bool = {
    let flags = (SystemTable.text(at: "/proc/cpuinfo") ?? "").split(separator: "\n").first { $0.hasPrefix("flags") }
    return flags?.split(separator: " ").contains("avx512f") ?? false
  }()
}
