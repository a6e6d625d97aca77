import ArgumentParser

extension ExitCode {
  /// No daemon could be asked, or it did not answer: 3. Otherwise it is 0, 1 when something failed, and 64 for a command
  /// line that cannot be understood.
  static let unreachable = ExitCode(3)

  /// The same for help texts.
  static let explanation =
    "Exits with 0, 1 when what was asked for has failed, 3 when no daemon answers, 64 when the command line is wrong."
}
