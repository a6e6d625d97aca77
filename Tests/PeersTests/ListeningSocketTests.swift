import Foundation
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
}
