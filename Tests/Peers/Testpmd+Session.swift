import Foundation
import Synchronization

extension Testpmd {
  /// A running testpmd at its prompt.
  package final class Session: Sendable {
    /// How to start it.
    package struct Configuration: Sendable {
      /// The virtual devices, in the order of their port numbers.
      package var devices: [String]
      /// Receive and transmit queues of every port.
      package var queues = 1
      /// Threads that forward; each takes its share of the streams.
      package var forwardingThreads = 1
      /// The CPU of all its threads. The main one sleeps at the prompt, so it takes nothing from the others.
      package var cpu = 0
      package var mode = ForwardMode.io
      package var mbufs = 8192
      package var mebibytes = 128
      /// Further arguments of the environment layer (EAL).
      package var environmentArguments: [String] = []
      /// Further arguments of testpmd itself.
      package var extraArguments: [String] = []
      package var logFile: String?

      package init(devices: [String]) { self.devices = devices }
    }

    package let process: PeerProcess
    /// Where its memory comes from.
    package let memory: PeerMemory
    /// Holds EAL's run-time files, which it leaves behind.
    private let scratch: ScratchDirectory
    private let synchronizations = Atomic<Int>(0)
    private static let started = Atomic<Int>(0)

    /// Starts testpmd and waits for its prompt, with every device probed and started.
    package init(_ configuration: Configuration, timeout: Duration = .seconds(30)) throws(PeerError) {
      let number = Session.started.add(1, ordering: .relaxed).newValue
      let prefix = "peer-\(ProcessInfo.processInfo.processIdentifier)-\(number)"
      memory = PeerMemory.available(mebibytes: configuration.mebibytes)
      scratch = try ScratchDirectory("dpdk")
      let threads = max(1, configuration.forwardingThreads)
      // Separate threads on one CPU, never two numbers for one: EAL wants an lcore for the prompt.
      let lcores = (0...threads).map { "\($0)@\(configuration.cpu)" }.joined(separator: ",")
      var arguments = ["-oL", Testpmd.program, "--lcores", lcores, "--no-pci", "--no-telemetry"]
      arguments += memory.arguments(mebibytes: configuration.mebibytes, prefix: prefix)
      arguments += configuration.environmentArguments
      for device in configuration.devices { arguments += ["--vdev", device] }
      arguments += [
        "--", "-i", "--forward-mode=\(configuration.mode.rawValue)", "--nb-cores=\(threads)",
        "--rxq=\(configuration.queues)", "--txq=\(configuration.queues)", "--total-num-mbufs=\(configuration.mbufs)",
        "--no-mlockall",
      ]
      arguments += configuration.extraArguments
      _ = try PeerProcess.locate(Testpmd.program, hint: Testpmd.hint)
      // Into a pipe testpmd's output is held back until a buffer is full; stdbuf, which then becomes it, has it written
      // line by line, in step with the prompt's echo.
      process = try PeerProcess(
        "stdbuf", arguments, environment: ["RUNTIME_DIRECTORY": scratch.path], hint: "package coreutils installs it",
        logFile: configuration.logFile, displayName: Testpmd.program)
      let devices = configuration.devices.joined(separator: " and ")
      let greeting: String
      do throws(PeerError) {
        greeting = try process.waitForText("testpmd> ", timeout: timeout)
      } catch {
        let code = error.code == .exited ? PeerError.Code.cannotStart : error.code
        throw PeerError(code, "\(devices) did not come up: \(error.message)", outputTail: error.outputTail)
      }
      // It goes on to the prompt with devices that did not come up.
      for failure in Session.failures where greeting.contains(failure) {
        throw PeerError(
          .cannotStart, "\(devices) did not come up: \(Testpmd.program) printed \"\(failure)\"",
          outputTail: process.outputTail())
      }
    }

    private static let failures = [
      "No probed ethernet devices", "probe failed", "Failed to start device", "Fail to start port",
      "Please stop the ports first",
    ]

    deinit { quit() }

    /// Gives a command and returns what testpmd printed for it, with the echo of the command.
    package func command(_ line: String, timeout: Duration = .seconds(10)) throws(PeerError) -> String {
      let mark = process.mark
      try process.send(line: line)
      let deadline = ContinuousClock.now + timeout
      while true {
        // testpmd echoes each line when it comes to it, so the echo of a comment, which does nothing, ends the answer.
        // The echo goes out byte by byte and a message of another thread may tear it: then the next comment is looked
        // for.
        let end = "# sync \(synchronizations.add(1, ordering: .relaxed).newValue)"
        try process.send(line: end)
        let answer: String
        do throws(PeerError) {
          answer = try process.waitForText(end + "\n", since: mark, timeout: min(deadline - .now, .seconds(2)))
        } catch {
          guard error.code == .timeout, ContinuousClock.now < deadline else { throw error }
          continue
        }
        for refusal in ["Command not found", "Bad arguments", "Ambiguous command"] where answer.contains(refusal) {
          throw PeerError(.badAnswer, "\(Testpmd.program) refuses the command \"\(line)\"", outputTail: answer)
        }
        return answer
      }
    }

    /// Gives a command whose answer has to contain `text`.
    @discardableResult
    package func command(_ line: String, expecting text: String, timeout: Duration = .seconds(10)) throws(PeerError)
      -> String
    {
      let answer = try command(line, timeout: timeout)
      guard answer.contains(text) else {
        throw PeerError(
          .badAnswer, "\(Testpmd.program) did not answer \"\(text)\" to \"\(line)\"", outputTail: answer)
      }
      return answer
    }

    // MARK: Commands

    /// Sets what happens with received packets. With `retry` a packet the ring has no room for is tried again (`burst
    /// tx`) before it is dropped.
    package func setForward(_ mode: ForwardMode, retry: Bool = false) throws(PeerError) {
      try command(
        "set fwd \(mode.rawValue)\(retry ? " retry" : "")",
        expecting: "Set \(mode.rawValue) packet forwarding mode\(retry ? " with retry" : "")")
    }

    /// How often and after how many microseconds a packet is tried again.
    package func setRetry(count: Int, microseconds: Int) throws(PeerError) {
      _ = try command("set burst tx delay \(microseconds) retry \(count)")
    }

    /// The length in bytes of the packets testpmd makes itself.
    package func setPacketLength(_ bytes: Int) throws(PeerError) {
      // testpmd's own check counts the headroom in and lets longer ones pass.
      guard (60...2048).contains(bytes) else {
        throw PeerError(.invalidRun, "\(Testpmd.program) makes packets of 60 to 2048 bytes, not of \(bytes)")
      }
      _ = try command("set txpkts \(bytes)")
      try command("show config txpkts", expecting: "Segment sizes: \(bytes)\n")
    }

    /// Starts forwarding, for `bursts` of 32 packets a queue after having sent them.
    package func start(txFirst bursts: Int = 0) throws(PeerError) {
      try command(
        bursts > 0 ? "start tx_first \(bursts)" : "start", expecting: "packet forwarding", timeout: .seconds(15))
    }

    /// Stops forwarding; returns testpmd's statistics of what it forwarded.
    package func stop() throws(PeerError) -> String {
      try command("stop", expecting: "Done.", timeout: .seconds(15))
    }

    /// The counters of a port.
    package func portStatistics(_ port: Int = 0) throws(PeerError) -> PortStatistics {
      try PortStatistics(parsing: try command("show port stats \(port)"), port: port)
    }

    /// Ends testpmd in an orderly way, so that its files are written and the peer sees the rings stopped.
    @discardableResult
    package func quit(timeout: Duration = .seconds(5)) -> ExitStatus {
      if process.exitStatus == nil, (try? process.send(line: "quit")) != nil,
        let status = try? process.waitForExit(timeout: timeout)
      {
        return status
      }
      return process.terminate()
    }
  }
}
