import CLinux
import Foundation
import SystemPackage

extension PeerProcess {
  /// The path of a program given by path or by a name in PATH.
  package static func locate(_ program: String, hint: String? = nil) throws(PeerError) -> String {
    let candidates: [String]
    if program.contains("/") {
      candidates = [program]
    } else {
      let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
      candidates = path.split(separator: ":").map { "\($0)/\(program)" }
    }
    if let found = candidates.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) { return found }
    throw PeerError(
      .missingProgram, "\(program) is not on this machine" + (hint.map { "; \($0)" } ?? ""))
  }

  /// The path of a program built by this package, which stands beside the running one.
  package static func builtProgram(_ name: String) throws(PeerError) -> String {
    let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    guard let own, let directory = Optional(FilePath(own).removingLastComponent()) else {
      throw PeerError(.missingProgram, "/proc/self/exe cannot be read, so \(name) cannot be found")
    }
    return try locate(directory.appending(name).string, hint: "`swift build --product \(name)` makes it")
  }

  /// Forks and executes. Returns the process id or a negative errno.
  static func spawn(_ path: String, _ arguments: [String], _ environment: [String], input: Int32, output: Int32)
    -> Int32
  {
    // Null-terminated arrays of C strings, owned here until the child has its copies.
    var argv = unsafe arguments.map { unsafe strdup($0) }
    var envp = unsafe environment.map { unsafe strdup($0) }
    unsafe argv.append(nil)
    unsafe envp.append(nil)
    defer {
      unsafe argv.forEach { unsafe free($0) }
      unsafe envp.forEach { unsafe free($0) }
    }
    return unsafe clinux_spawn(path, argv, envp, input, output, output)
  }

  /// Starts the two threads that follow a process: one reads its output, one waits for its end. They hold the state
  /// and not the `PeerProcess`, whose `deinit` ends the program.
  static func follow(pid: Int32, output: FileDescriptor, state: PeerState) {
    let reader = Thread {
      var buffer = [UInt8](repeating: 0, count: 65536)
      while true {
        // The buffer outlives the call, which writes no more than its length.
        let count = unsafe buffer.withUnsafeMutableBytes { unsafe try? output.read(into: $0) } ?? 0
        if count == 0 { break }
        state.append(buffer.prefix(count))
      }
      try? output.close()
      state.endOutput()
    }
    reader.name = "peer-output"
    reader.start()
    let reaper = Thread {
      var code: Int32 = 0
      var signalled = false
      // First without reaping: until the lock is held, the id must stay this process's.
      _ = unsafe clinux_wait(pid, false, &code, &signalled)
      state.end {
        _ = unsafe clinux_wait(pid, true, &code, &signalled)
        return signalled ? .signalled(code) : .exited(code)
      }
    }
    reaper.name = "peer-reaper"
    reaper.start()
  }
}
