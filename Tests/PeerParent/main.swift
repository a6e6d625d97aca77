// A parent to be killed: starts the given program, prints its process id and waits for its own end.
import Foundation
import Peers

guard CommandLine.arguments.count > 1 else {
  throw PeerError(.cannotStart, "usage: peer-parent PROGRAM ARGUMENTS…")
}
let child = try PeerProcess(CommandLine.arguments[1], Array(CommandLine.arguments.dropFirst(2)))
// Not print(), whose buffer would keep it from a pipe.
FileHandle.standardOutput.write(Data("child \(child.pid)\n".utf8))
while readLine() != nil {}
child.terminate()
