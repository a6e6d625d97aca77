import Foundation
import Peers

/// The back-ends that serve a file as a block device, each in the ways in which it can be told to.
enum BlockServer: String, CaseIterable, Sendable, CustomStringConvertible {
  /// This project's daemon, which sleeps when there is nothing to do.
  case vdpad
  /// This project's daemon, which polls.
  case vdpadPoll = "vdpad-poll"
  /// `qemu-storage-daemon`, with io_uring.
  case qsdUring = "qsd-uring"
  /// `qemu-storage-daemon`, with its threads.
  case qsdThreads = "qsd-threads"

  var description: String { rawValue }

  /// Whether it is what this project is compared with.
  var isReference: Bool { self == .qsdUring || self == .qsdThreads }

  /// Starts it, all of it on one CPU, and waits until its socket can be connected to.
  func start(
    file: String, socket: String, cpu: Int, queues: Int, vdpad: String, log: String?
  ) throws -> PeerProcess {
    let program: [String]
    switch self {
    case .vdpad, .vdpadPoll:
      program =
        [
          vdpad, "serve", "--type", "block", "--socket-path", socket, "--blk-file", file, "--queues", "\(queues)",
          "--cpu", "\(cpu)",
        ] + (self == .vdpadPoll ? ["--poll"] : [])
    case .qsdUring, .qsdThreads:
      let way = self == .qsdUring ? "io_uring" : "threads"
      program = [
        "qemu-storage-daemon", "--object", "iothread,id=thread",
        "--blockdev", "driver=file,node-name=disk,filename=\(file),cache.direct=off,aio=\(way)",
        "--export",
        "type=vhost-user-blk,id=export,node-name=disk,writable=on,iothread=thread,num-queues=\(queues),"
          + "addr.type=unix,addr.path=\(socket)",
      ]
    }
    let process = try PeerProcess(
      "taskset", ["--cpu-list", "\(cpu)"] + program, hint: "apt install util-linux qemu-utils", logFile: log,
      displayName: "\(self)")
    try ListeningSocket.wait(at: socket, by: process)
    return process
  }
}
