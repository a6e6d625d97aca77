import ArgumentParser

/// The options every command takes, before its noun or after it.
///
/// The root command and each verb have this group: the root's parser finds the options wherever they stand, and a verb
/// is given what the root's found.
struct GlobalOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The control socket of the daemon.", valueName: "path"))
  var control = "/run/vdpad.sock"

  @Flag(name: .shortAndLong, help: "Print JSON, for scripts.")
  var json = false
}
