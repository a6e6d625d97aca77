import ArgumentParser
import Datapath
import Glibc
import VDPA
import VhostUser
import Virtio

/// A virtio entropy device (virtio 1.2, §5.4): fills what the guest gives it with random bytes.
struct EntropyDevice: SoftwareDevice {
  /// The most bytes for one request; a guest that wants more asks again.
  private static let limit = 4096

  let type = DeviceType.entropy

  func process(_ chain: consuming Chain, queue: Int) {
    var system = SystemRandomNumberGenerator()
    let bytes = (0..<min(chain.writableBytes, EntropyDevice.limit)).map { _ in UInt8.random(in: 0...255, using: &system)
    }
    chain.write(bytes, at: 0)
  }
}

/// Serves entropy on a vhost-user socket until SIGTERM or SIGINT:
///
///     qemu-system-x86_64 … -chardev socket,id=rng,path=PATH -device vhost-user-rng-pci,chardev=rng
@main
struct EntropyServer: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "entropy-device", abstract: "A virtio entropy device of one's own, on a vhost-user socket.")

  @Option(help: "Listen on a Unix socket at this path.")
  var socketPath: String

  @Flag(help: "Print the counters at the end.")
  var stats = false

  func run() throws {
    // Before the first thread, so that no thread takes a signal away from the one that waits for it.
    var ending = sigset_t()
    unsafe sigemptyset(&ending)
    for signal in [SIGTERM, SIGINT] { unsafe sigaddset(&ending, signal) }
    unsafe pthread_sigmask(SIG_BLOCK, &ending, nil)

    // A front-end that takes back the memory which it has shared is not the end of the process.
    try BusErrorGuard.install()
    let software = try SoftwareEngine()
    software.register(.entropy) { _ in EntropyDevice() }
    let threads = try SessionThreads()
    let socket = VhostUserSocket(
      SocketConfiguration(endpoint: .listen(path: socketPath), type: .entropy),
      registry: Registry(software: software), threads: threads)
    try socket.start()

    var signal: CInt = 0
    unsafe sigwait(&ending, &signal)
    let counters = socket.statistics.first
    socket.stop()
    threads.stop()
    software.stop()
    if stats, let counters { print("\(counters.packets) requests, \(counters.bytes) bytes") }
  }
}
