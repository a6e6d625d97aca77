import Glibc
import SystemPackage
import VDPA

/// Moves a device's own state through a pipe of the front-end, without ever waiting for the other end (vhost-user,
/// Migrating back-end state). Lives on the session's loop.
final class StatePipe: Sendable {
  /// How it ended.
  enum Outcome: Sendable {
    /// All bytes went out.
    case saved
    /// These bytes came in.
    case loaded([UInt8])
    case failed(VhostUserError)
  }

  typealias Completion = @Sendable (Outcome) -> Void

  private struct State {
    /// nil at the end.
    var pipe: OwnedFD?
    var bytes: [UInt8]
    var position = 0
    var registration: EventLoop.Registration?
    var outcome: Outcome?
    var completion: Completion?
  }

  /// The most bytes of state that are taken in.
  static let maximumSize = 16 << 20
  /// Bytes that are moved before others on the loop have their turn.
  private static let piece = 64 << 10

  private let isSaving: Bool
  private let loop: EventLoop
  private let state: LoopBound<State>

  /// - Parameters:
  ///   - pipe: A pipe or socket; its flags are set to non-blocking.
  ///   - saving: What to write; nil to read until the other end is closed.
  init(_ pipe: OwnedFD, saving bytes: [UInt8]?, on loop: EventLoop) throws(VhostUserError) {
    var info = stat()
    guard unsafe fstat(pipe.rawValue, &info) == 0,
      info.st_mode & S_IFMT == S_IFIFO || info.st_mode & S_IFMT == S_IFSOCK
    else {
      throw VhostUserError(.wrongDescriptor, "a device state goes through a pipe, not through \(pipe.kernelName)")
    }
    do throws(Errno) {
      try StreamSocket.setNonBlocking(pipe)
    } catch {
      throw VhostUserError(.system, "the pipe cannot be made non-blocking", errno: error)
    }
    self.loop = loop
    isSaving = bytes != nil
    state = LoopBound(State(pipe: pipe, bytes: bytes ?? []), on: loop)
  }

  /// The same as a value, for callers that go on either way.
  static func make(_ pipe: OwnedFD, saving bytes: [UInt8]?, on loop: EventLoop) -> Result<StatePipe, VhostUserError> {
    do throws(VhostUserError) {
      return .success(try StatePipe(pipe, saving: bytes, on: loop))
    } catch {
      return .failure(error)
    }
  }

  /// Begins. The pipe is closed at the end, for that is what tells the other end.
  func start() {
    guard let pipe = state.value.pipe else { return }
    do throws(Errno) {
      state.value.registration = try loop.watch(pipe, isSaving ? .writable : .readable) { [self] _ in
        guard let pipe = state.value.pipe else { return }
        if isSaving { write(to: pipe) } else { read(from: pipe) }
      }
    } catch {
      end(.failed(VhostUserError(.system, "the pipe cannot be watched", errno: error)))
    }
  }

  /// Calls back when it is over, at once if it is.
  func whenDone(_ completion: @escaping Completion) {
    if let outcome = state.value.outcome { return completion(outcome) }
    state.value.completion = completion
  }

  /// Ends it before it is over.
  func cancel() { end(.failed(VhostUserError(.stopped, "the transfer of the device's state was given up"))) }

  private func end(_ outcome: Outcome) {
    guard state.value.outcome == nil else { return }
    if let registration = state.value.registration { loop.cancel(registration) }
    state.value.registration = nil
    state.value.outcome = outcome
    state.value.bytes = []
    state.value.pipe = nil
    let completion = state.value.completion
    state.value.completion = nil
    completion?(outcome)
  }

  private func write(to pipe: OwnedFD) {
    let (bytes, position) = (state.value.bytes, state.value.position)
    guard position < bytes.count else { return end(.saved) }
    let count = min(StatePipe.piece, bytes.count - position)
    // The buffer is the array's own, and `count` bytes from `position` on are in it.
    let written = unsafe bytes.withUnsafeBytes { buffer in
      unsafe Glibc.write(pipe.rawValue, buffer.baseAddress.map { unsafe $0 + position }, count)
    }
    guard written >= 0 else { return failed(Errno(rawValue: errno)) }
    state.value.position += written
    if state.value.position == bytes.count { end(.saved) }
  }

  private func read(from pipe: OwnedFD) {
    var result = 0
    // The call writes at most a piece into a buffer of that capacity and says how much it wrote.
    let piece = unsafe [UInt8](unsafeUninitializedCapacity: StatePipe.piece) { buffer, count in
      result = unsafe Glibc.read(pipe.rawValue, buffer.baseAddress, buffer.count)
      count = max(result, 0)
    }
    guard result >= 0 else { return failed(Errno(rawValue: errno)) }
    guard result > 0 else { return end(.loaded(state.value.bytes)) }
    guard state.value.bytes.count + piece.count <= StatePipe.maximumSize else {
      return end(
        .failed(VhostUserError(.budget, "a device state of more than \(StatePipe.maximumSize >> 20) MiB is not taken")))
    }
    state.value.bytes += piece
  }

  private func failed(_ error: Errno) {
    guard error != .wouldBlock && error != .interrupted else { return }
    end(.failed(VhostUserError(.system, "the device's state cannot be moved through the pipe", errno: error)))
  }
}
