import Foundation

extension PeerProcess {
  /// How long the program's threads have been ready to run and did not get a CPU, in nanoseconds, since they started;
  /// nil when the kernel does not count it. A thread that polls alone on its CPU does not wait.
  package var schedulingDelay: UInt64? { PeerProcess.schedulingDelay(of: pid) }

  /// The same of any process.
  package static func schedulingDelay(of pid: Int32) -> UInt64? { times(of: pid, at: 1) }

  /// How long the program's threads have run, in nanoseconds; nil when the kernel does not count it.
  package var runTime: UInt64? { PeerProcess.times(of: pid, at: 0) }

  /// One of the columns of schedstat, over all threads: time on the CPU, time waiting for it, number of slices.
  private static func times(of pid: Int32, at column: Int) -> UInt64? {
    let directory = "/proc/\(pid)/task"
    guard let threads = try? FileManager.default.contentsOfDirectory(atPath: directory) else { return nil }
    let times = threads.compactMap { thread in
      (try? String(contentsOfFile: "\(directory)/\(thread)/schedstat", encoding: .utf8))?
        .split(whereSeparator: \.isWhitespace).dropFirst(column).first.flatMap { UInt64($0) }
    }
    return times.isEmpty ? nil : times.reduce(0, &+)
  }
}
