import Glibc
import Synchronization
import SystemPackage
import Testing
import VDPA

@testable import Datapath

/// A network of its own, with the kernel's protocols on one side of a TAP device: a network namespace that goes with this
/// object. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN, as root has them, and /dev/net/tun.
final class NetworkNamespace: Sendable {
  private let file: OwnedFD

  init() throws {
    let hasTap = unsafe access("/dev/net/tun", R_OK | W_OK) == 0
    try #require(
      hasTap,
      "/dev/net/tun cannot be used: modprobe tun, or mknod /dev/net/tun c 10 200")
    file = try NetworkNamespace.onThread {
      // What Glibc's module lacks; CLONE_NEWNET.
      let unshare = try NetworkNamespace.symbol("unshare", as: (@convention(c) (CInt) -> CInt).self)
      let isMade = unshare(0x4000_0000) == 0
      try #require(isMade, "a network namespace cannot be made: run the tests as root (CAP_SYS_ADMIN, CAP_NET_ADMIN)")
      return OwnedFD(adopting: try FileDescriptor.open(FilePath("/proc/thread-self/ns/net"), .readOnly))
    }
    try ip("link set lo up")
  }

  private static func symbol<Function>(_ name: String, as type: Function.Type) throws -> Function {
    unsafe unsafeBitCast(try #require(dlsym(nil, name)), to: type)
  }

  private static func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) throws -> Result {
    try RunningThread(body).result()
  }

  /// Does something in the namespace, on a thread of its own.
  func start<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) throws -> RunningThread<Result> {
    try RunningThread { [file] in
      let setns = try NetworkNamespace.symbol("setns", as: (@convention(c) (CInt, CInt) -> CInt).self)
      try #require(setns(file.rawValue, 0) == 0)
      return try body()
    }
  }

  /// The same, waiting for it.
  func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) throws -> Result {
    try start(body).result()
  }

  /// Runs `ip` there, once for each part between semicolons.
  func ip(_ arguments: String) throws {
    try run {
      for command in arguments.split(separator: ";") {
        try NetworkNamespace.spawn(["ip"] + command.split(separator: " ").map(String.init))
      }
    }
  }

  /// Runs a program in the calling thread's namespace, which Foundation's processes do not without a loopback device.
  private static func spawn(_ words: [String]) throws {
    var pid: pid_t = 0
    var status: CInt = 0
    unsafe withCStrings(words) { arguments in
      unsafe withCStrings(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]) { environment in
        status = unsafe posix_spawnp(&pid, words[0], nil, nil, arguments, environment)
      }
    }
    try #require(status == 0, "\(words[0]) cannot be run: apt-get install iproute2")
    let waited = unsafe waitpid(pid, &status, 0)
    try #require(waited == pid && status == 0, "\(words.joined(separator: " ")) has failed")
  }

  private static func withCStrings(
    _ words: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Void
  ) {
    var pointers = unsafe words.map { unsafe strdup($0) } + [nil]
    unsafe body(&pointers)
    unsafe pointers.forEach { unsafe free($0) }
  }

  /// How many bytes the kernel has received from a device.
  func receivedBytes(_ device: String) throws -> Int {
    let text = try run { () -> String in
      let file = try FileDescriptor.open(FilePath("/proc/thread-self/net/dev"), .readOnly)
      return try file.closeAfter {
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = try unsafe bytes.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
        return String(decoding: bytes.prefix(count), as: UTF8.self)
      }
    }
    let line = try #require(text.split(separator: "\n").first { $0.contains("\(device):") })
    return try #require(line.split(separator: ":").last?.split(separator: " ").first.flatMap { Int($0) })
  }
}

/// A thread that comes back with something.
final class RunningThread<Result: Sendable>: Sendable {
  private final class Value: Sendable {
    let value = Mutex<Swift.Result<Result, any Error>?>(nil)
  }

  private let value = Value()
  private let thread: PinnedThread

  init(_ body: @escaping @Sendable () throws -> Result) throws {
    thread = try PinnedThread(name: "test-netns") { [value] in
      let result = Swift.Result { try body() }
      value.value.withLock { $0 = result }
    }
  }

  /// Whether it has ended.
  var isDone: Bool { value.value.withLock { $0 != nil } }

  /// Waits for its end.
  func result() throws -> Result {
    thread.join()
    return try #require(value.value.withLock { $0 }).get()
  }
}
