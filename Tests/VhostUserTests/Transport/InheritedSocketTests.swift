import Glibc
import SystemPackage
import Testing
import VDPA
import VhostUser

struct InheritedSocketTests {
  private let folder = TemporaryFolder()

  private func isRefused(_ descriptor: OwnedFD) -> Bool {
    let error = #expect(throws: VhostUserError.self) { try InheritedSocket.kind(of: descriptor) }
    return error?.code == .wrongDescriptor
  }

  @Test func tellsListeningFromConnected() throws {
    let (listening, _) = try SocketFile.listen(at: folder.path("s.sock"))
    let (connected, peer) = try ConnectionHarness.pair()
    #expect(try InheritedSocket.kind(of: listening) == .listening)
    #expect(try InheritedSocket.kind(of: connected) == .connected)
    withExtendedLifetime(peer) {}
  }

  @Test func isNotPassedOnAgain() throws {
    let (connected, peer) = try ConnectionHarness.pair()
    #expect(fcntl(connected.rawValue, F_SETFD, 0) == 0)
    _ = try InheritedSocket.kind(of: connected)
    #expect(fcntl(connected.rawValue, F_GETFD) == FD_CLOEXEC)
    withExtendedLifetime(peer) {}
  }

  @Test func refusesEverythingElse() throws {
    #expect(isRefused(try EventFD.make()))
    #expect(isRefused(try StreamSocket.make()), "neither listens nor is connected")
    let datagram = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
    #expect(isRefused(OwnedFD(adopting: FileDescriptor(rawValue: datagram))))
    let internet = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    #expect(isRefused(OwnedFD(adopting: FileDescriptor(rawValue: internet))))
  }
}
