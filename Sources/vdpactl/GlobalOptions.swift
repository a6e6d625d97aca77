import ArgumentParser
import Control
import SystemPackage

/// The options every command takes, before its noun or after it.
///
/// The root command and each verb have this group: the root's parser finds the options wherever they stand, and a verb
/// is given what the root's found.
struct GlobalOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The control socket of the daemon.", valueName: "path"))
  var control = "/run/vdpad.sock"

  @Flag(name: .shortAndLong, help: "Print JSON, for scripts.")
  var json = false

  /// Asks the daemon, and prints what it answers: as JSON, or the text that is made of it.
  ///
  /// - Throws: ``ArgumentParser/ExitCode``, with the reason printed.
  func ask<Method: ControlMethod>(_ method: Method, _ text: (Method.Answer) -> String) throws {
    let answer: Method.Answer
    do {
      answer = try ControlClient(path: control).call(method)
    } catch {
      // Messages have names in them that come from elsewhere.
      _ = try? FileDescriptor.standardError.writeAll("Error: \(Table.printable("\(error)"))\n".utf8)
      throw error is ControlError || (error as? RPCError)?.isRefusal == true ? ExitCode.unreachable : ExitCode.failure
    }
    print(json ? try answer.prettyJSON() + "\n" : text(answer), terminator: "")
  }
}
