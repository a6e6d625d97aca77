import Glibc
import SystemPackage
import VDPA

/// Tells whether every copy of a descriptor is closed: they are copies of a pipe's writing end, and the reading end
/// sees the hang-up when the last one goes. Unlike a count of the process's descriptors it does not mind other tests.
final class DescriptorWitness {
  private let readingEnd: OwnedFD
  private var writingEnd: OwnedFD?

  init() throws {
    let (reading, writing) = try FileDescriptor.pipe()
    readingEnd = OwnedFD(adopting: reading)
    writingEnd = OwnedFD(adopting: writing)
  }

  /// New copies.
  func copies(_ count: Int) throws -> [OwnedFD] {
    guard let writingEnd else { throw Errno.badFileDescriptor }
    return try (0..<count).map { _ in try writingEnd.duplicate() }
  }

  /// Gives up the witness's own copy and waits for the others to go. False when one still lives after ten seconds.
  func areAllClosed() -> Bool {
    writingEnd = nil
    var entry = pollfd(fd: readingEnd.rawValue, events: 0, revents: 0)
    return unsafe poll(&entry, 1, 10_000) == 1 && entry.revents & Int16(POLLHUP) != 0
  }
}
