package import SystemPackage

/// Why a peer could not be driven: what failed, with which program or file, and what to do about it.
package struct PeerError: Error, CustomStringConvertible {
  /// What kind of failure it is.
  package struct Code: Hashable, Sendable {
    package let name: String

    /// The program is not on this machine.
    package static let missingProgram = Code(name: "missing program")
    /// The system refused to start the program.
    package static let cannotStart = Code(name: "cannot start")
    /// The program ended while something was still expected of it.
    package static let exited = Code(name: "exited")
    /// The program did not answer in time.
    package static let timeout = Code(name: "timeout")
    /// The program refused a command, or its answer does not read as one.
    package static let badAnswer = Code(name: "bad answer")
    /// A file is missing, malformed or cannot be written.
    package static let badFile = Code(name: "bad file")
    /// A run ended without the peer having done what was asked, so that its counts say nothing.
    package static let invalidRun = Code(name: "invalid run")
  }

  package let code: Code
  package let message: String
  /// The end of what the program printed, when it is of use.
  package let outputTail: String?
  package let underlyingError: Errno?

  package init(_ code: Code, _ message: String, outputTail: String? = nil, underlyingError: Errno? = nil) {
    self.code = code
    self.message = message
    self.outputTail = outputTail
    self.underlyingError = underlyingError
  }

  package var description: String {
    var text = message
    if let underlyingError { text += ": \(underlyingError)" }
    if let outputTail, !outputTail.isEmpty { text += "; it printed last:\n\(outputTail)" }
    return text
  }
}
