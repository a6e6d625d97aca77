import Foundation

extension PeerProcess {
  /// How long the program's threads have been ready to run and did not get a CPU, in nanoseconds, since they started;
  /// nil when the kernel does not count it. A thread that polls alone on its CPU does not wait.
  package var schedulingDelay: UInt64? { PeerProcess.schedulingDelay(of: pid) }

  /// The same of any process.
  package static func schedulingDelay(of pid: Int32) -> UInt64? {
    let directory = "/proc/\(pid)/task"
    guard let threads = try? FileManager.default.contentsOfDirectory(atPath: directory) else { return nil }
    // Time on the CPU, time waiting for it, number of slices.
    let delays = threads.compactMap { thread in
      (try? String(contentsOfFile: "\(directory)/\(thread)/schedstat", encoding: .utf8))?
        .split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { UInt64($0) }
    }
    return delays.isEmpty ? nil : delays.reduce(0, &+)
  }
}
