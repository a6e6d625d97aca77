internal import CLinux
internal import Glibc
package import SystemPackage

/// An epoll(7) instance.
///
/// Every registration carries a token chosen by the caller and never used twice, so that an event of a descriptor that
/// was closed and whose number was given away again is told apart from an event of the new one.
package final class Epoll: Sendable {
  /// What a registration waits for.
  package struct Interest: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let readable = Interest(rawValue: EPOLLIN.rawValue)
    package static let writable = Interest(rawValue: EPOLLOUT.rawValue)
    /// The peer has closed its end; always reported.
    package static let hangUp = Interest(rawValue: EPOLLHUP.rawValue)
    package static let error = Interest(rawValue: EPOLLERR.rawValue)
    package static let edgeTriggered = Interest(rawValue: EPOLLET.rawValue)
  }

  /// An event: the token of its registration and what happened.
  package struct Event {
    package var token: UInt64
    package var interest: Interest
  }

  private let fd: OwnedFD

  /// The instance's own descriptor, which is readable while there are events.
  package var descriptor: FileDescriptor { fd.descriptor }

  package init() throws(Errno) {
    let descriptor = epoll_create1(CInt(EPOLL_CLOEXEC))
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    fd = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
  }

  package func add(_ descriptor: FileDescriptor, token: UInt64, interest: Interest) throws(Errno) {
    try control(EPOLL_CTL_ADD, descriptor, token, interest)
  }

  package func modify(_ descriptor: FileDescriptor, token: UInt64, interest: Interest) throws(Errno) {
    try control(EPOLL_CTL_MOD, descriptor, token, interest)
  }

  /// Takes a registration back. A descriptor that is not registered is no error: it may have been closed already.
  package func remove(_ descriptor: FileDescriptor) {
    try? control(EPOLL_CTL_DEL, descriptor, 0, [])
  }

  private func control(
    _ operation: CInt, _ descriptor: FileDescriptor, _ token: UInt64, _ interest: Interest
  ) throws(Errno) {
    var event = unsafe epoll_event(events: interest.rawValue, data: epoll_data_t(u64: token))
    guard unsafe epoll_ctl(fd.rawValue, operation, descriptor.rawValue, &event) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  /// Waits for events.
  ///
  /// - Parameters:
  ///   - milliseconds: How long to wait; −1 for ever, 0 not at all.
  ///   - body: Called once an event.
  /// - Returns: How many events there were; 0 after the time has passed or a signal came.
  @discardableResult
  package func wait(milliseconds: CInt, _ body: (Event) -> Void) -> Int {
    unsafe withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 64) { buffer in
      guard let base = buffer.baseAddress else { return 0 }
      let count = unsafe epoll_wait(fd.rawValue, base, CInt(buffer.count), milliseconds)
      guard count > 0 else { return 0 }
      for i in 0..<Int(count) {
        let event = unsafe buffer[i]
        unsafe body(Event(token: event.data.u64, interest: Interest(rawValue: event.events)))
      }
      return Int(count)
    }
  }
}
