import Foundation
import SystemPackage
import Testing

@testable import Peers

struct PeerProcessTests {
  /// Whether a process runs: there, and no zombie.
  static func runs(_ pid: Int32) -> Bool {
    guard let status = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else { return false }
    // The state follows the name, which is in parentheses and may hold any character.
    return status.split(separator: ")").last.map { !$0.hasPrefix(" Z") } ?? false
  }

  static func waitUntil(_ condition: () -> Bool) -> Bool {
    let deadline = ContinuousClock.now + .seconds(20)
    while !condition() {
      guard ContinuousClock.now < deadline else { return false }
      Thread.sleep(forTimeInterval: 0.01)
    }
    return true
  }

  @Test("Lines go in, output of both streams comes out")
  func talk() async throws {
    try await blocking {
      let process = try PeerProcess("sh", ["-c", "echo ready; while read a; do echo got $a >&2; done; exit 3"])
      try process.waitForText("ready\n")
      let mark = process.mark
      try process.send(line: "one")
      #expect(try process.waitForText("got one", since: mark) == "got one")
      try process.send(line: "two 22")
      #expect(try process.waitForMatch(of: #/two (\d+)/#).1 == "22")
      #expect(process.exitStatus == nil)
      #expect(process.terminate() == .signalled(SIGTERM))
      #expect(process.exitStatus == .signalled(SIGTERM))
      #expect(!Self.runs(process.pid))
    }
  }

  @Test("A program that ends while output is expected of it is an error with the end of its output")
  func exit() async throws {
    try await blocking {
      let process = try PeerProcess("sh", ["-c", "seq 1 1000; echo cannot open the thing >&2; exit 7"])
      let error = try #require(throws: PeerError.self) { try process.waitForText("never") }
      #expect(error.code == .exited)
      #expect(error.description.contains("sh exited with 7"))
      #expect(error.description.hasSuffix("1000\ncannot open the thing"))
      #expect(!error.description.contains("\n900\n"))
      let refused = try #require(throws: PeerError.self) { try process.send(line: "x") }
      #expect(refused.code == .exited)
    }
  }

  @Test("Text that does not come is an error after the time given")
  func timeout() async throws {
    try await blocking {
      let process = try PeerProcess("sleep", ["600"])
      let error = try #require(throws: PeerError.self) {
        try process.waitForText("never", timeout: .milliseconds(50))
      }
      #expect(error.code == .timeout)
      #expect(throws: PeerError.self) { try process.waitForExit(timeout: .milliseconds(50)) }
    }
  }

  @Test("A missing program is an error that says what installs it")
  func missing() throws {
    let error = try #require(throws: PeerError.self) {
      try PeerProcess("no-such-program", hint: "package such installs it")
    }
    #expect(error.code == .missingProgram)
    #expect(error.description == "no-such-program is not on this machine; package such installs it")
  }

  @Test("A file that is no program is an error of exec, not an exit")
  func notAProgram() throws {
    let scratch = try ScratchDirectory()
    let path = scratch.file("text")
    try Data("no program".utf8).write(to: URL(fileURLWithPath: path))
    try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: path)
    let error = try #require(throws: PeerError.self) { try PeerProcess(path) }
    #expect(error.code == .cannotStart)
    #expect(error.underlyingError == .execFormatError)
  }

  @Test("A program that ignores SIGTERM is killed")
  func stubborn() async throws {
    try await blocking {
      let process = try PeerProcess("sh", ["-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
      try process.waitForText("ready")
      #expect(process.terminate(grace: .milliseconds(200)) == .signalled(SIGKILL))
    }
  }

  @Test("A program ends with the object that started it")
  func scope() async throws {
    try await blocking {
      var process: PeerProcess? = try PeerProcess("sleep", ["600"])
      let pid = try #require(process?.pid)
      #expect(Self.runs(pid))
      process = nil
      #expect(!Self.runs(pid))
    }
  }

  @Test("A program dies with the process that started it, even when that one is killed")
  func parentDies() async throws {
    try await blocking {
      let parent = try PeerProcess(try PeerProcess.builtProgram("peer-parent"), ["sleep", "600"])
      let pid = try #require(Int32(try parent.waitForMatch(of: #/child (\d+)\n/#).1))
      #expect(Self.runs(pid))
      parent.signal(SIGKILL)
      #expect(try parent.waitForExit(timeout: .seconds(10)) == .signalled(SIGKILL))
      #expect(Self.waitUntil { !Self.runs(pid) })
    }
  }

  @Test("The thread that starts programs is not the caller's: they live on when that one ends")
  func callerThreadEnds() async throws {
    let process = try await blocking { try PeerProcess("sleep", ["600"]) }
    // The thread above is gone, and this is after its kernel thread was.
    #expect(Self.runs(process.pid))
    try await blocking { Thread.sleep(forTimeInterval: 0.2) }
    #expect(Self.runs(process.pid))
  }

  @Test("A program gets the three standard descriptors and no other")
  func descriptors() async throws {
    try await blocking {
      // Without close-on-exec, as an inherited one would be.
      let leaked = unsafe open("/dev/null", O_RDONLY)
      defer { close(leaked) }
      #expect(leaked >= 0)
      let process = try PeerProcess("sh", ["-c", "echo ready; read a"])
      try process.waitForText("ready")
      let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process.pid)/fd")
      #expect(descriptors.sorted() == ["0", "1", "2"])
    }
  }

  @Test("The time a program waited for a CPU is known while it runs")
  func schedulingDelay() async throws {
    try await blocking {
      let process = try PeerProcess("sleep", ["600"])
      #expect(process.schedulingDelay != nil)
      process.terminate()
      #expect(process.schedulingDelay == nil)
    }
  }

  @Test("Output beyond the bound is dropped from its beginning; the log has all of it")
  func bound() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      let process = try PeerProcess(
        "sh", ["-c", "seq 1 100000"], logFile: scratch.file("log"), outputLimit: 10_000)
      try process.waitForExit(timeout: .seconds(20))
      #expect(Self.waitUntil { process.output().hasSuffix("100000\n") })
      #expect(process.output().utf8.count <= 10_000)
      #expect(process.mark == 588_895)
      #expect(process.outputTail(lines: 2) == "99999\n100000")
      let log = try String(contentsOfFile: scratch.file("log"), encoding: .utf8)
      #expect(log.utf8.count == 588_895)
    }
  }
}
