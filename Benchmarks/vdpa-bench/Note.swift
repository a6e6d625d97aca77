import Foundation

/// A line for whoever waits for the figures, which alone are on standard output.
func note(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
