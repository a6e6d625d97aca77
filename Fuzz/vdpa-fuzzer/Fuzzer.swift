internal import CFuzzer
internal import Glibc
internal import SystemPackage

/// The program: `vdpa-fuzzer TARGET [--seeds FOLDER | options and folders of libFuzzer]`, or `--list`.
enum Fuzzer {
  /// What can be fuzzed: how to make it, and inputs to begin with: what correct peers do, and one for each rule that they
  /// can break.
  private struct Entry {
    let name: String
    let seeds: [FuzzInput]
    let make: () throws -> any FuzzTarget
  }

  /// In the order in which they are run; the last one must be found out and is not one of them for the user.
  private static var entries: [Entry] {
    [
      Entry(name: "device", seeds: DeviceRingTarget.seeds) { try DeviceRingTarget(isRacing: false) },
      Entry(name: "device-race", seeds: DeviceRingTarget.seeds) { try DeviceRingTarget(isRacing: true) },
      Entry(name: "driver", seeds: DriverRingTarget.seeds) { try DriverRingTarget(isRacing: false) },
      Entry(name: "driver-race", seeds: DriverRingTarget.seeds) { try DriverRingTarget(isRacing: true) },
      Entry(name: "chain", seeds: KeepingDevice.seeds) { try ChainTarget(KeepingDevice(), isRacing: false) },
      Entry(name: "chain-race", seeds: KeepingDevice.seeds) { try ChainTarget(KeepingDevice(), isRacing: true) },
      Entry(name: "block", seeds: BlockDeviceUnderTest.seeds) {
        try ChainTarget(BlockDeviceUnderTest(), isRacing: false)
      },
      Entry(name: "block-race", seeds: BlockDeviceUnderTest.seeds) {
        try ChainTarget(BlockDeviceUnderTest(), isRacing: true)
      },
      Entry(name: "offload", seeds: OffloadTarget.seeds) { OffloadTarget() },
      Entry(name: "echo", seeds: EchoTarget.seeds) { EchoTarget() },
      Entry(name: "codec", seeds: CodecTarget.seeds) { try CodecTarget() },
      Entry(name: "session", seeds: SessionTarget.seeds) { try SessionTarget() },
      Entry(name: "control", seeds: ControlTarget.seeds) { try ControlTarget() },
    ]
  }

  private static let usage = """
    usage: vdpa-fuzzer --list
           vdpa-fuzzer TARGET --seeds FOLDER
           vdpa-fuzzer TARGET [options, folders and files of libFuzzer]
    """

  // libFuzzer calls a C function, which has no context.
  nonisolated(unsafe) private static var target: (any FuzzTarget)?

  static func run() -> CInt {
    let arguments = CommandLine.arguments
    guard arguments.count >= 2 else { return complain(usage) }
    let names = entries.dropLast().map(\.name)
    if arguments[1] == "--list" {
      print(names.joined(separator: "\n"))
      return 0
    }
    guard let entry = entries.first(where: { $0.name == arguments[1] }) else {
      return complain("vdpa-fuzzer: no target \(arguments[1]); there are \(names.joined(separator: ", "))")
    }
    if arguments.count > 2 && arguments[2] == "--seeds" {
      return arguments.count == 4 ? write(entry.seeds, to: arguments[3]) : complain(usage)
    }
    // libFuzzer does not mind this one, and would end without a word.
    signal(SIGPIPE) { _ in abort() }
    do {
      unsafe target = try entry.make()
    } catch {
      return complain("vdpa-fuzzer: \(entry.name) cannot be set up: \(error)")
    }
    return fuzz(arguments[0], Array(arguments[2...]))
  }

  private static func complain(_ message: String) -> CInt {
    _ = try? FileDescriptor.standardError.writeAll((message + "\n").utf8)
    return 2
  }

  private static func write(_ seeds: [FuzzInput], to folder: String) -> CInt {
    for (i, seed) in seeds.enumerated() {
      let path = "\(folder)/seed-\(i)"
      do {
        let file = try FileDescriptor.open(
          FilePath(path), .writeOnly, options: [.create, .truncate, .closeOnExec],
          permissions: [.ownerReadWrite, .groupRead, .otherRead])
        try file.closeAfter { _ = try file.writeAll(seed.bytes) }
      } catch {
        return complain("vdpa-fuzzer: \(path) cannot be written: \(error)")
      }
    }
    return 0
  }

  private static func fuzz(_ program: String, _ options: [String]) -> CInt {
    // libFuzzer keeps these for as long as the process lives.
    var arguments = unsafe ([program] + options).map { unsafe strdup($0) } + [nil]
    var count = CInt(options.count + 1)
    return unsafe arguments.withUnsafeMutableBufferPointer { buffer in
      var start = buffer.baseAddress
      return unsafe LLVMFuzzerRunDriver(&count, &start) { data, size in
        let bytes = unsafe UnsafeBufferPointer(start: data, count: size)
        unsafe Fuzzer.target?.run(FuzzInput(bytes.span))
        return 0
      }
    }
  }
}
