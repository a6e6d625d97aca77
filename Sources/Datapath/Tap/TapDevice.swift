internal import CLinux
internal import Glibc
internal import SystemPackage
internal import VDPA

/// A TAP device of the host with a queue for each queue pair.
struct TapDevice: Sendable {
  let queues: [TapQueue]

  /// The longest name in bytes (`IFNAMSIZ`).
  static let maxNameLength = 15

  /// Whether the kernel could give a device that name as it is.
  static func isName(_ name: String) -> Bool {
    (1...maxNameLength).contains(name.utf8.count) && name != "." && name != ".."
      && name.utf8.allSatisfy { (0x21...0x7e).contains($0) && !"/:%".utf8.contains($0) }
  }

  /// Opens the device, or makes it: then it goes with its last queue.
  ///
  /// - Parameters:
  ///   - name: What `ip link` calls it.
  ///   - count: How many queues.
  ///   - owner: Whose port it is, for errors.
  /// - Throws: ``DatapathError`` `system` or `inUse`, saying what to do.
  init(_ name: String, queues count: Int, owner: String) throws(DatapathError) {
    var queues: [TapQueue] = []
    var isMultiqueue = true
    for i in 0..<count {
      var step: CInt = 0
      var result = unsafe clinux_tap_open(name, isMultiqueue, &step)
      if result == -EINVAL && step == CLINUX_TAP_ATTACH && count == 1 {
        // It may have been made for one queue.
        isMultiqueue = false
        result = TapDevice.openOnly(name, &step)
      }
      guard result >= 0 else {
        throw TapDevice.error(Errno(rawValue: -result), step: step, name: name, queue: i, of: count, owner: owner)
      }
      let queue = TapQueue(
        // The kernel takes its time to close one, which may be a worker's.
        descriptor: OwnedFD(received: FileDescriptor(rawValue: result)), name: name, isDetachable: isMultiqueue)
      // Nobody receives yet.
      if isMultiqueue { _ = queue.setAttached(false) }
      queues.append(queue)
    }
    self.queues = queues
  }

  /// Opens the one queue of a device, which a device of this process may be about to close.
  private static func openOnly(_ name: String, _ step: inout CInt) -> CInt {
    for _ in 0..<100 {
      let result = unsafe clinux_tap_open(name, false, &step)
      guard result == -EBUSY else { return result }
      usleep(10_000)
    }
    return unsafe clinux_tap_open(name, false, &step)
  }

  private static func error(
    _ reason: Errno, step: CInt, name: String, queue: Int, of count: Int, owner: String
  ) -> DatapathError {
    let make = "ip tuntap add dev \(name) mode tap multi_queue user NAME"
    let (code, text): (DatapathError.Code, String)
    switch (step, reason) {
    case (CLINUX_TAP_OPEN, .noSuchFileOrDirectory), (CLINUX_TAP_OPEN, .noSuchAddressOrDevice),
      (CLINUX_TAP_OPEN, Errno(rawValue: ENODEV)):
      code = .system
      text =
        "/dev/net/tun is not there (\(reason)); load the module (modprobe tun), and let a container have the device"
    case (CLINUX_TAP_OPEN, _):
      code = .system
      text = "/dev/net/tun cannot be opened (\(reason)); this user needs to read and write it"
    case (_, .notPermitted), (_, .permissionDenied):
      code = .system
      text =
        "this user may neither make nor use the device (\(reason)); as root, make it for this user: \(make), or give the "
        + "program CAP_NET_ADMIN"
    case (_, .resourceBusy):
      code = .inUse
      text = "another program has the device (\(reason)), which has one queue; end that one, or make it anew: \(make)"
    case (_, Errno(rawValue: E2BIG)):
      code = .inUse
      text = "queue \(queue + 1) of \(count) cannot be had (\(reason)): the device has as many as it can have"
    case (_, .invalidArgument):
      code = .badConfiguration
      let kind = count > 1 ? "TAP device with several queues, of which \(count) are wanted" : "TAP device"
      text =
        "there is a device of that name which is no \(kind) (\(reason)); choose another name, or make it anew: "
        + "ip link del \(name), \(make)"
    default:
      code = .system
      text = "queue \(queue + 1) of \(count) cannot be set up (\(reason)); the kernel has to be 4.0 or newer"
    }
    return DatapathError(code, "\(owner): port tap=\(name): \(text)")
  }
}
