import Foundation
import SystemPackage
import Testing
import VDPA
import VhostUser

struct SocketFileTests {
  private let folder = TemporaryFolder()
  private var path: String { folder.path("s.sock") }

  private func error(at path: String, options: SocketFile.Options = .init()) -> VhostUserError? {
    #expect(throws: VhostUserError.self) { _ = try SocketFile.listen(at: path, options: options) }
  }

  private func canConnect(_ path: String) -> Bool {
    (try? StreamSocket.connect(try StreamSocket.make(), to: path)) != nil
  }

  @Test func listensAndRemoves() throws {
    let (socket, file) = try SocketFile.listen(at: path)
    #expect(canConnect(path) && file.path == path)
    file.remove()
    #expect(!FileManager.default.fileExists(atPath: path))
    withExtendedLifetime(socket) {}
  }

  @Test func staleFileIsReplaced() throws {
    do {
      let (socket, _) = try SocketFile.listen(at: path)
      withExtendedLifetime(socket) {}
    }
    #expect(FileManager.default.fileExists(atPath: path) && !canConnect(path))
    let (socket, _) = try SocketFile.listen(at: path)
    #expect(canConnect(path))
    withExtendedLifetime(socket) {}
  }

  @Test func liveSocketStays() throws {
    let (socket, _) = try SocketFile.listen(at: path)
    #expect(error(at: path)?.code == .pathInUse)
    #expect(canConnect(path))
    withExtendedLifetime(socket) {}
  }

  /// Somebody listens there, but its queue of waiting clients is full.
  @Test func busySocketStays() throws {
    let (socket, _) = try SocketFile.listen(at: path)
    var clients: [OwnedFD] = []
    while clients.count < 1000 {
      let client = try StreamSocket.make()
      guard (try? StreamSocket.connect(client, to: path)) != nil else { break }
      clients.append(client)
    }
    #expect(clients.count < 1000)
    #expect(error(at: path)?.code == .pathInUse)
    withExtendedLifetime((socket, clients)) {}
  }

  @Test func otherFilesStay() throws {
    try Data("precious".utf8).write(to: URL(fileURLWithPath: path))
    let refused = error(at: path)
    #expect(refused?.code == .badPath && refused?.message.contains("not a socket") == true)
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "precious")

    let (link, target) = (folder.path("link"), folder.path("dead.sock"))
    _ = try SocketFile.listen(at: target)
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
    #expect(error(at: link)?.code == .badPath)
    #expect(FileManager.default.fileExists(atPath: link) && FileManager.default.fileExists(atPath: target))
  }

  @Test func longPath() throws {
    let base = folder.path("")
    let longest = base + String(repeating: "x", count: 107 - base.utf8.count)
    let (socket, file) = try SocketFile.listen(at: longest)
    #expect(canConnect(longest))
    file.remove()
    let refused = error(at: longest + "x")
    #expect(refused?.code == .badPath)
    #expect(refused?.description.contains("108 bytes, 107 is the most") == true)
    withExtendedLifetime(socket) {}
  }

  @Test(arguments: ["", "a\0b"]) func impossiblePath(path: String) {
    #expect(error(at: path)?.code == .badPath)
  }

  @Test func missingFolder() {
    let refused = error(at: folder.path("none/s.sock"))
    #expect(refused?.code == .badPath && refused?.errno == .noSuchFileOrDirectory)
  }

  @Test(arguments: [0o600, 0o666, 0o660] as [UInt32]) func modeAndOwner(mode: UInt32) throws {
    // Only root may give files away; others can name themselves.
    let (user, group) = geteuid() == 0 ? (4242, 4343) : (geteuid(), getegid())
    let (socket, _) = try SocketFile.listen(
      at: path, options: .init(mode: mode, owner: user, group: group))
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    #expect(attributes[.posixPermissions] as? UInt32 == mode)
    #expect(attributes[.ownerAccountID] as? UInt32 == user && attributes[.groupOwnerAccountID] as? UInt32 == group)
    withExtendedLifetime(socket) {}
  }

  /// Another process has taken the path over meanwhile.
  @Test func foreignFileIsNotRemoved() throws {
    let (socket, file) = try SocketFile.listen(at: path)
    try FileManager.default.removeItem(atPath: path)
    // The old socket is still open, so its inode number is not given away again.
    let (other, _) = try SocketFile.listen(at: path)
    file.remove()
    #expect(canConnect(path))
    withExtendedLifetime((socket, other)) {}
  }

  /// However many start at once where a stale file is, one has the path afterwards, is the one that clients reach, and its
  /// file is still there when the others have given up.
  @Test func oneOfManyGetsAStalePath() async throws {
    let path = path
    for _ in 0..<50 {
      do {
        let (socket, _) = try SocketFile.listen(at: path)
        withExtendedLifetime(socket) {}
      }
      let outcomes = await withTaskGroup(of: Result<OwnedFD, VhostUserError>.self) { group in
        for _ in 0..<8 {
          group.addTask {
            do throws(VhostUserError) {
              return .success(try SocketFile.listen(at: path).socket)
            } catch {
              return .failure(error)
            }
          }
        }
        return await group.reduce(into: []) { $0.append($1) }
      }
      let won = outcomes.compactMap { try? $0.get() }
      #expect(won.count == 1)
      #expect(outcomes.allSatisfy { if case .failure(let error) = $0 { error.code == .pathInUse } else { true } })
      #expect(canConnect(path))
      withExtendedLifetime(won) {}
    }
  }
}
