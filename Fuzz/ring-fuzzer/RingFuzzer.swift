internal import CFuzzer
internal import Glibc
internal import SystemPackage

/// The program: `ring-fuzzer TARGET [--seeds FOLDER | options and folders of libFuzzer]`, or `--list`.
enum RingFuzzer {
  /// Names for the command line, in the order in which they are run.
  static let names = ["device", "device-race", "driver", "driver-race", "echo"]
  /// Not one of them: it must be found out.
  static let control = "control"

  private static let usage = """
    usage: ring-fuzzer --list
           ring-fuzzer TARGET --seeds FOLDER
           ring-fuzzer TARGET [options, folders and files of libFuzzer]
    """

  // libFuzzer calls a C function, which has no context.
  nonisolated(unsafe) private static var target: (any FuzzTarget)?

  static func run() -> CInt {
    let arguments = CommandLine.arguments
    guard arguments.count >= 2 else { return complain(usage) }
    if arguments[1] == "--list" {
      print(names.joined(separator: "\n"))
      return 0
    }
    do {
      unsafe target = try make(arguments[1])
    } catch {
      return complain("ring-fuzzer: there is no memory to fuzz in: \(error)")
    }
    guard let target = unsafe target else {
      return complain("ring-fuzzer: no target \(arguments[1]); there are \(names.joined(separator: ", "))")
    }
    if arguments.count > 2 && arguments[2] == "--seeds" {
      guard arguments.count == 4 else { return complain(usage) }
      return write(type(of: target).seeds, to: arguments[3])
    }
    return fuzz(arguments[0], Array(arguments[2...]))
  }

  private static func make(_ name: String) throws -> (any FuzzTarget)? {
    switch name {
    case "device": try DeviceRingTarget(isRacing: false)
    case "device-race": try DeviceRingTarget(isRacing: true)
    case "driver": try DriverRingTarget(isRacing: false)
    case "driver-race": try DriverRingTarget(isRacing: true)
    case "echo": EchoTarget()
    case control: try ControlTarget()
    default: nil
    }
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
        return complain("ring-fuzzer: \(path) cannot be written: \(error)")
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
        unsafe RingFuzzer.target?.run(FuzzInput(bytes.span))
        return 0
      }
    }
  }
}
