import Foundation
import Glibc
import SystemPackage
import Testing

@testable import Peers

struct ListeningSocketTests {
  @Test("A program that ends without listening is an error with its output")
  func exits() async throws {
    try await blocking {
      let scratch = try ScratchDirectory()
      #expect(!ListeningSocket.exists(at: scratch.file("sock")))
      let process = try PeerProcess("sh", ["-c", "echo no port for you; exit 1"])
      let error = try #require(throws: PeerError.self) {
        try ListeningSocket.wait(at: scratch.file("sock"), by: process)
      }
      #expect(error.description.contains("sh exited with 1"))
    }
  }

  @Test("A socket is found beside many others whose names are no text")
  func otherNames() throws {
    let scratch = try ScratchDirectory()
    let name = Array(scratch.file("sock").utf8)
    // In the abstract namespace a name begins with a zero and may go on with any bytes.
    let others = try (0..<200).map { try Self.socket(named: [0, 0xff, UInt8($0)] + name) }
    let listening = try Self.socket(named: name)
    defer { for socket in others + [listening] { close(socket) } }
    #expect(!ListeningSocket.exists(at: scratch.file("sock")))
    #expect(listen(listening, 1) == 0)
    #expect(ListeningSocket.exists(at: scratch.file("sock")))
  }

  private static func socket(named name: [UInt8]) throws -> Int32 {
    let socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw Errno(rawValue: errno) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    // The name is shorter than its place.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: name) }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
    let result = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(socket, $0, length) }
    }
    guard result == 0 else { throw Errno(rawValue: errno) }
    return socket
  }
}
