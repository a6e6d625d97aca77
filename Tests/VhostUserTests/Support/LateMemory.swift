import CLinux
import FrontEndTestSupport
import Glibc
import Synchronization
import SystemPackage
import VDPA
import Virtio

@testable import VhostUser

/// The memory of a guest that arrives by postcopy migration: an empty file, whose pages are brought from the source's when
/// somebody waits for them.
final class LateMemory: Sendable {
  private struct State {
    var isServing: Bool
    var bases: [(start: UInt64, size: UInt64)] = []
    var brought = 0
    var waiting = 0
  }

  /// lseek(2)'s SEEK_DATA, which the C library's module leaves out.
  private static let seekData: CInt = 3

  let file: OwnedFD
  private let source: OwnedFD
  private let size: UInt64
  private let faults: OwnedFD
  private let state: Mutex<State>
  private let isOver = Atomic<Bool>(false)
  private let thread = Mutex<PinnedThread?>(nil)

  /// - Parameters:
  ///   - guest: The source.
  ///   - faults: The back-end's userfaultfd.
  ///   - serving: Whether pages are brought at once, or only when asked to.
  init(of guest: Guest, by faults: OwnedFD, serving: Bool = true) throws {
    let descriptor = unsafe clinux_memfd("late")
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    file = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    guard ftruncate(descriptor, off_t(guest.size)) == 0 else { throw Errno(rawValue: errno) }
    source = guest.file
    size = guest.size
    self.faults = faults
    state = Mutex(State(isServing: serving))
    let started = try PinnedThread(name: "late-memory") { [self] in run() }
    thread.withLock { $0 = started }
  }

  /// How many accesses waited, and how many pages were brought.
  var waiting: Int { state.withLock { $0.waiting } }
  var brought: Int { state.withLock { $0.brought } }

  /// Where the back-end has the memory.
  func isAt(_ base: UInt64, size: UInt64) { state.withLock { $0.bases.append((base, size)) } }

  func serve() { state.withLock { $0.isServing = true } }

  func stop() {
    isOver.store(true, ordering: .relaxed)
    thread.withLock { $0 }?.join()
  }

  /// Puts what the back-end has written into the source's memory, where the driver looks.
  func bringBack() {
    var offset: off_t = 0
    while true {
      let data = lseek(file.rawValue, offset, LateMemory.seekData)
      guard data >= 0 else { return }
      let page = self.page(of: file, at: UInt64(data))
      // The page is the array's own.
      let written = unsafe page.withUnsafeBytes { unsafe pwrite(source.rawValue, $0.baseAddress, $0.count, data) }
      precondition(written == 4096)
      offset = data + 4096
    }
  }

  private func page(of file: OwnedFD, at offset: UInt64) -> [UInt8] {
    var page = [UInt8](repeating: 0, count: 4096)
    // The page is the array's own.
    let count = unsafe page.withUnsafeMutableBytes {
      unsafe pread(file.rawValue, $0.baseAddress, $0.count, off_t(offset))
    }
    precondition(count == 4096)
    return page
  }

  private func run() {
    var pending: [UInt64] = []
    while !isOver.load(ordering: .relaxed) {
      var entry = pollfd(fd: faults.rawValue, events: Int16(POLLIN), revents: 0)
      _ = unsafe poll(&entry, 1, 5)
      var address: UInt64 = 0
      while unsafe clinux_userfaultfd_next(faults.rawValue, &address) == 0 {
        pending.append(address & ~4095)
        state.withLock { $0.waiting += 1 }
      }
      guard state.withLock({ $0.isServing }) else { continue }
      for address in pending { bring(address) }
      pending = []
    }
  }

  private func bring(_ address: UInt64) {
    guard let base = state.withLock({ $0.bases.first { address >= $0.start && address - $0.start < $0.size } }) else {
      return
    }
    let page = page(of: source, at: address - base.start)
    // The page is the array's own; the address is the back-end's, here the same process.
    let result = unsafe page.withUnsafeBytes {
      unsafe clinux_userfaultfd_copy(faults.rawValue, address, $0.baseAddress, 4096)
    }
    // Two accesses may have waited for one page.
    precondition(result == 0 || result == -EEXIST)
    state.withLock { $0.brought += 1 }
  }
}
