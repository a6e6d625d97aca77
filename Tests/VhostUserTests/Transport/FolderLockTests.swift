import Foundation
import Synchronization
import SystemPackage
import Testing
import VDPA

@testable import VhostUser

struct FolderLockTests {
  private let folder = TemporaryFolder()

  @Test("One at a time holds it, and it is free as soon as the holder lets go")
  func excludes() throws {
    let path = folder.path("s.sock")
    for _ in 0..<3 {
      let lock = try FolderLock(around: path)
      let error = #expect(throws: VhostUserError.self) { _ = try FolderLock(around: path, patience: 20) }
      #expect(error?.code == .system && error?.message.contains("stays locked by another process") == true)
      _ = consume lock
    }
    _ = try FolderLock(around: path, patience: 0)
  }

  @Test("Whoever comes meanwhile waits for it")
  func queues() async throws {
    let (path, inside) = (folder.path("s.sock"), Inside())
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<20 {
            let lock = try FolderLock(around: path, patience: 60_000)
            #expect(inside.count.wrappingAdd(1, ordering: .relaxed).newValue == 1)
            inside.count.wrappingSubtract(1, ordering: .relaxed)
            _ = consume lock
          }
        }
      }
      try await group.waitForAll()
    }
  }

  /// Who holds the lock.
  private final class Inside: Sendable {
    let count = Atomic<Int>(0)
  }

  @Test("A folder that is missing, or is none, is refused")
  func missing() throws {
    try Data().write(to: URL(fileURLWithPath: folder.path("file")))
    for path in [folder.path("none/s.sock"), folder.path("file/s.sock")] {
      #expect(throws: VhostUserError.self) { _ = try FolderLock(around: path) }
    }
  }
}
