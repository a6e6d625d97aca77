/// Where a DPDK program takes its memory from.
package enum PeerMemory: Hashable, Sendable, CustomStringConvertible {
  /// Hugepages, without files and without a mounted hugetlbfs.
  case hugePages
  /// Ordinary pages of a memory file.
  case ordinaryPages

  package var description: String {
    switch self {
    case .hugePages: "hugepages"
    case .ordinaryPages: "ordinary pages"
    }
  }

  /// Hugepages when the machine has enough of them free, in the default size.
  package static func available(mebibytes: Int) -> PeerMemory {
    choice(mebibytes: mebibytes, memoryInformation: SystemTable.text(at: "/proc/meminfo") ?? "")
  }

  /// The same from the text of /proc/meminfo.
  static func choice(mebibytes: Int, memoryInformation: String) -> PeerMemory {
    func value(_ key: String) -> Int {
      let line = memoryInformation.split(separator: "\n").first { $0.hasPrefix(key + ":") }
      return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    }
    let (kibibytes, overflow) = value("HugePages_Free").multipliedReportingOverflow(by: value("Hugepagesize"))
    return !overflow && kibibytes >= mebibytes * 1024 && kibibytes > 0 ? .hugePages : .ordinaryPages
  }

  /// The arguments for DPDK's environment layer (EAL). `prefix` is the program's own among those that run.
  func arguments(mebibytes: Int, prefix: String) -> [String] {
    switch self {
    case .hugePages:
      // One file for all pages: with a file a page virtio-user finds "Too many memory regions" for its 8 slots.
      ["--in-memory", "--single-file-segments", "-m", "\(mebibytes)"]
    case .ordinaryPages:
      // Not --in-memory, which EAL refuses together with --no-huge.
      ["--no-huge", "--no-shconf", "--file-prefix=\(prefix)", "-m", "\(mebibytes)"]
    }
  }
}
