import CLinux
import FrontEndTestSupport
import Glibc
import Peers
import SystemPackage
import Testing
import VDPA
import VhostUser
import Virtio

extension BadMessagesTests {
  /// What comes with a message.
  enum Attached: Sendable {
    case eventFD
    case pipe
    case socket
    case guestMemory
    case readOnlyMemory
    case file
    case epoll
    case timer
    case zeroes
    /// A memory file as large as the guest's, with these seals.
    case sealed(CInt)
    /// A memory file that is one byte smaller.
    case tooSmall

    func open(_ guest: Guest) throws -> OwnedFD {
      switch self {
      case .eventFD: return try EventFD.make()
      case .pipe:
        let (reading, writing) = try FileDescriptor.pipe()
        try writing.close()
        return OwnedFD(adopting: reading)
      case .socket: return try StreamSocket.make()
      case .guestMemory: return try guest.file.duplicate()
      case .readOnlyMemory:
        return OwnedFD(adopting: try .open(FilePath("/proc/self/fd/\(guest.file.rawValue)"), .readOnly))
      case .file: return OwnedFD(adopting: try .open(FilePath("/proc/self/exe"), .readOnly))
      case .epoll: return OwnedFD(adopting: FileDescriptor(rawValue: epoll_create1(0)))
      case .timer: return OwnedFD(adopting: FileDescriptor(rawValue: timerfd_create(CLOCK_MONOTONIC, 0)))
      case .zeroes: return OwnedFD(adopting: try .open(FilePath("/dev/zero"), .readWrite))
      case .sealed(let seals):
        let file = try Guest.makeMemory(size: guest.size)
        try Seals.add(seals, to: file)
        return file
      case .tooSmall: return try Guest.makeMemory(size: guest.size - 1)
      }
    }
  }

  @Test("Kick, call and error descriptors of every wrong kind, before the ring runs and while it does")
  func wrongKinds() async throws {
    try await blocking {
      let kinds: [(Attached, String)] = [
        (.pipe, "pipe:"), (.socket, "socket:"), (.file, "/"), (.epoll, "anon_inode:[eventpoll]"),
        (.timer, "anon_inode:[timerfd]"), (.zeroes, "/dev/zero"), (.guestMemory, "/memfd:guest"),
      ]
      let payload = VringFilePayload(index: 1, hasDescriptor: true).encoded
      var messages: [Message] = []
      for (request, name) in [
        (.setVringKick, "kick"), (.setVringCall, "call"), (.setVringError, "error"),
      ] as [(FrontendRequest, String)] {
        for (kind, shown) in kinds {
          for stage in [Stage.negotiated, .running] {
            let log = "the \(name) descriptor is not an eventfd but \(shown)"
            messages.append(Message(request, payload, [kind], stage, log: log))
          }
        }
      }
      try Self.check(messages, on: Daemon())
    }
  }

  @Test("Memory files that are sealed against writing, too small, or none at all")
  func wrongMemory() async throws {
    try await blocking {
      let region = SingleRegionPayload(region: try Guest().region).encoded
      let none = "not memfd, tmpfs or hugetlbfs"
      try Self.check(
        [
          Message(.addMemoryRegion, region, [.sealed(Seals.write)], log: "its file cannot be mapped"),
          Message(.addMemoryRegion, region, [.sealed(Seals.futureWrite)], log: "its file cannot be mapped"),
          Message(.addMemoryRegion, region, [.tooSmall], log: "ends behind its file"),
          Message(.addMemoryRegion, region, [.zeroes], log: none),
          Message(.addMemoryRegion, region, [.epoll], log: none),
          Message(.addMemoryRegion, region, [.timer], log: none),
          Message(.addMemoryRegion, region, [.file], .running, log: none),
          Message(.addMemoryRegion, region, [.pipe], .running, log: none),
        ], on: Daemon())
    }
  }
}
