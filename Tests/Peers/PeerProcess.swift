import CLinux
import Foundation
package import SystemPackage

/// A program that runs beside this one: its own process, lines in, output collected.
///
/// The process cannot outlive this one, however this one ends: it is forked in C, where PR_SET_PDEATHSIG can be set
/// between fork and exec. Neither Foundation.Process nor posix_spawn(3) has a place for that.
package final class PeerProcess: Sendable {
  /// The program's name, for messages.
  package let name: String
  package let pid: Int32
  let state: PeerState
  /// Our end of the program's standard input: a socket, because a write to a dead pipe would raise SIGPIPE.
  private let input: FileDescriptor

  /// Starts a program.
  ///
  /// - Parameters:
  ///   - program: a path, or a name that is looked up in PATH.
  ///   - environment: variables set in addition to this process's own.
  ///   - standardInput: the program's standard input in place of a channel from here, for `send(line:)`; it stays the
  ///     caller's.
  ///   - hint: what to do when the program is missing, such as the package that installs it.
  ///   - logFile: a file that gets all of the output as well.
  ///   - outputLimit: how many bytes of output are kept.
  ///   - displayName: the name for messages, when it is not the program's.
  package init(
    _ program: String, _ arguments: [String] = [], environment: [String: String] = [:],
    standardInput: FileDescriptor? = nil, hint: String? = nil, logFile: String? = nil, outputLimit: Int = 4 << 20,
    displayName: String? = nil
  ) throws(PeerError) {
    let path = try PeerProcess.locate(program, hint: hint)
    name = displayName ?? FilePath(program).lastComponent?.string ?? program
    var log: FileDescriptor?
    if let logFile {
      do {
        log = try FileDescriptor.open(
          FilePath(logFile), .writeOnly, options: [.create, .truncate, .closeOnExec], permissions: .ownerReadWrite)
      } catch {
        throw PeerError(
          .badFile, "the log file \(logFile) of \(name) cannot be written", underlyingError: error as? Errno)
      }
    }
    var ours: Int32 = -1
    var theirs: Int32 = -1
    let paired = unsafe clinux_socketpair(&ours, &theirs)
    guard paired == 0 else {
      try? log?.close()
      throw PeerError(.cannotStart, "no socket pair for \(name)", underlyingError: Errno(rawValue: -paired))
    }
    input = FileDescriptor(rawValue: ours)
    let childInput = FileDescriptor(rawValue: theirs)
    let pipe: (readEnd: FileDescriptor, writeEnd: FileDescriptor)
    do {
      pipe = try FileDescriptor.pipe()
    } catch {
      for descriptor in [log, input, childInput] { try? descriptor?.close() }
      throw PeerError(.cannotStart, "no pipe for \(name)", underlyingError: error as? Errno)
    }
    let merged = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let started = SpawnThread.shared.run {
      PeerProcess.spawn(
        path, [program] + arguments, merged.map { "\($0)=\($1)" }, input: (standardInput ?? childInput).rawValue,
        output: pipe.writeEnd.rawValue)
    }
    try? childInput.close()
    try? pipe.writeEnd.close()
    guard started > 0 else {
      for descriptor in [log, input, pipe.readEnd] { try? descriptor?.close() }
      throw PeerError(.cannotStart, "\(path) cannot be started", underlyingError: Errno(rawValue: -started))
    }
    pid = started
    state = PeerState(limit: outputLimit, log: log)
    PeerProcess.follow(pid: pid, output: pipe.readEnd, state: state)
  }

  deinit {
    terminate(grace: .zero)
    try? input.close()
  }

  // MARK: Talking to it

  /// Sends a line to the program's standard input.
  package func send(line: String) throws(PeerError) {
    var bytes = ArraySlice((line + "\n").utf8)
    while !bytes.isEmpty {
      // The pointer lives through the call; the count is the buffer's.
      let sent = unsafe bytes.withUnsafeBytes { buffer in
        unsafe clinux_send(input.rawValue, buffer.baseAddress, buffer.count, nil, 0)
      }
      guard sent > 0 else {
        if let status = state.waitForExit(until: .now + .seconds(1)) { throw exited(status) }
        throw PeerError(
          .badAnswer, "\(name) takes no input", outputTail: outputTail(), underlyingError: Errno(rawValue: Int32(-sent))
        )
      }
      bytes = bytes.dropFirst(sent)
    }
  }

  /// The number of bytes printed so far: a place to read on from.
  package var mark: Int { state.mark }

  /// What the program printed since `mark`, as far as it is kept, without carriage returns.
  package func output(since mark: Int = 0) -> String { state.text(since: mark) }

  /// The last lines the program printed.
  package func outputTail(lines: Int = 20) -> String {
    state.text(since: 0).split(whereSeparator: \.isNewline).suffix(lines).joined(separator: "\n")
  }

  /// Waits until the output since `mark` contains `text`; returns that output up to the end of `text`.
  @discardableResult
  package func waitForText(_ text: String, since mark: Int = 0, timeout: Duration = .seconds(10)) throws(PeerError)
    -> String
  {
    try wait(since: mark, timeout: timeout, expecting: text) { output in
      output.firstRange(of: text).map { String(output[..<$0.upperBound]) }
    }
  }

  /// Waits until the output since `mark` has a match of `pattern`, and returns the match.
  package func waitForMatch<Match>(
    of pattern: Regex<Match>, since mark: Int = 0, timeout: Duration = .seconds(10)
  ) throws(PeerError) -> Match {
    try wait(since: mark, timeout: timeout, expecting: "a pattern") { $0.firstMatch(of: pattern)?.output }
  }

  private func wait<Value>(
    since mark: Int, timeout: Duration, expecting: String, search: (String) -> Value?
  ) throws(PeerError) -> Value {
    switch state.wait(since: mark, until: .now + timeout, for: search) {
    case .value(let value): return value
    case .exited(let status): throw exited(status)
    case .timeout:
      throw PeerError(
        .timeout, "\(name) (process \(pid)) did not print \"\(expecting)\" in \(timeout)", outputTail: outputTail())
    }
  }

  private func exited(_ status: ExitStatus) -> PeerError {
    PeerError(.exited, "\(name) \(status)", outputTail: outputTail())
  }

  // MARK: Its end

  /// How the program ended, or nil while it runs.
  package var exitStatus: ExitStatus? { state.exitStatus }

  /// Waits for the program to end by itself.
  @discardableResult
  package func waitForExit(timeout: Duration) throws(PeerError) -> ExitStatus {
    guard let status = state.waitForExit(until: .now + timeout) else {
      throw PeerError(.timeout, "\(name) (process \(pid)) did not exit in \(timeout)", outputTail: outputTail())
    }
    return status
  }

  /// Sends a signal, unless the program has ended.
  package func signal(_ number: Int32) {
    state.whileAlive { _ = kill(pid, number) }
  }

  /// Ends the program: SIGTERM, and SIGKILL after `grace`. Returns how it ended.
  @discardableResult
  package func terminate(grace: Duration = .seconds(3)) -> ExitStatus {
    if grace > .zero {
      signal(SIGTERM)
      if let status = state.waitForExit(until: .now + grace) { return status }
    }
    signal(SIGKILL)
    // Bounded by the kernel's own time to end a process; a process in an uninterruptible sleep is given up on.
    return state.waitForExit(until: .now + .seconds(30)) ?? .signalled(SIGKILL)
  }
}
