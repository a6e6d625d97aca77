import SystemPackage

/// Whole lines to the standard streams, at once even where they are pipes.
enum Console {
  /// Prints a result.
  static func print(_ line: String) { write(line, to: .standardOutput) }

  /// Tells a person how far things are.
  static func note(_ line: String) { write(line, to: .standardError) }

  private static func write(_ line: String, to stream: FileDescriptor) {
    // A reader that has gone needs no output.
    _ = try? stream.writeAll((line + "\n").utf8)
  }
}
