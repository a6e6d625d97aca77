import Foundation
import Peers
import Testing

extension PeerMatrixTests {
  /// What a process did while it was left alone.
  private struct Activity {
    /// Time on a CPU, all threads together, in milliseconds.
    var milliseconds = 0.0
    /// How often a thread went to sleep by itself, and so how often one was woken.
    var sleeps = 0

    init(of pid: Int32) throws {
      let tasks = "/proc/\(pid)/task"
      for task in try FileManager.default.contentsOfDirectory(atPath: tasks) {
        let times = try String(contentsOfFile: "\(tasks)/\(task)/schedstat", encoding: .utf8).split(separator: " ")
        milliseconds += (Double(times.first ?? "0") ?? 0) / 1e6
        let status = try String(contentsOfFile: "\(tasks)/\(task)/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("voluntary_ctxt_switches:") }
        sleeps += line.flatMap { Int($0.split(separator: "\t").last ?? "") } ?? 0
      }
    }

    /// What `vdpad serve` does in three seconds with a front-end connected that sends nothing.
    static func whileIdle(_ options: String...) throws -> Activity {
      let scratch = try ScratchDirectory("idle")
      let path = scratch.file("sock")
      let daemon = try PeerProcess(PeerProcess.builtProgram("vdpad"), ["serve", "--socket-path", path] + options)
      try ListeningSocket.wait(at: path, by: daemon)
      let frontEnd = try Testpmd.FrontEnd(socketPath: path)
      try daemon.waitForText("ready:")
      // The first looks at the rings, and the calls and log lines of the start, are over by then.
      Thread.sleep(forTimeInterval: 0.5)
      let before = try Activity(of: daemon.pid)
      Thread.sleep(forTimeInterval: 3)
      var spent = try Activity(of: daemon.pid)
      spent.milliseconds -= before.milliseconds
      spent.sleeps -= before.sleeps
      frontEnd.quit()
      daemon.terminate()
      return spent
    }
  }

  /// A worker that looks once a millisecond wakes 3,000 times in these three seconds, a spinning one uses most of them;
  /// one that sleeps until it is kicked does nothing at all. The bounds lie far from both, so that a stray wake-up does
  /// no harm.
  @Test("An idle socket in event mode uses no CPU; one of a polling worker does")
  func idle() async throws {
    try await blocking {
      let event = try Activity.whileIdle("--event")
      #expect(event.sleeps < 30, "\(event)")
      #expect(event.milliseconds < 10, "\(event)")
      // The measurement sees a worker that does not sleep, even where others want the CPU too.
      let poll = try Activity.whileIdle("--poll")
      #expect(poll.milliseconds > 300, "\(poll)")
    }
  }
}
