internal import Glibc
public import Virtio

/// A guest without a VM: memory, vrings and their driver, which outlive whoever serves them.
///
/// Where a vring stands is in the guest: after one device has given the rings back, the next one goes on. For one thread.
public final class DriverGuest {
  /// What its driver and its devices agree upon.
  public let features: Features
  /// What it shares.
  public let memory: DriverMemory
  /// Its vrings.
  public let vrings: [DriverVring]
  /// Descriptors a vring.
  public let ringSize: Int

  /// Makes a guest.
  ///
  /// - Parameters:
  ///   - features: What was negotiated; ring format, order, event indices and tables follow it.
  ///   - vringCount: How many vrings; for net two a queue pair.
  ///   - ringSize: Descriptors a vring.
  ///   - bufferBytes: How much memory it has for buffers.
  ///   - regionCount: In how many regions its memory is.
  ///   - start: The position at which the vrings start; nil for the beginning.
  /// - Throws: ``VDPAError`` `noResources`, when there is no such memory, or no such ring.
  public init(
    features: Features, vringCount: Int, ringSize: Int = 256, bufferBytes: Int, regionCount: Int = 1,
    startingAt start: UInt16? = nil
  ) throws(VDPAError) {
    self.features = features
    self.ringSize = ringSize
    let layout: RingLayout
    do throws(VirtioError) {
      layout = try RingLayout(RingLayout.Format(for: features), size: ringSize)
    } catch {
      throw VDPAError(.noResources, error.message)
    }
    // A piece is in one region: what is left over at the end of each is at most one vring's.
    let regionCount = max(regionCount, 1)
    let ringBytes = DriverVring.bytes(layout)
    let share = (vringCount * ringBytes + bufferBytes) / regionCount + ringBytes
    memory = try DriverMemory(regionSizes: Array(repeating: share, count: regionCount))
    var vrings: [DriverVring] = []
    for index in 0..<vringCount {
      vrings.append(try DriverVring(index: index, size: ringSize, in: memory, features: features, startingAt: start))
    }
    self.vrings = vrings
  }

  /// Asks whoever serves the vrings to call when it is done with a buffer, or to do without. After asking for it the rings must
  /// be looked at once more.
  public func setWantsCalls(_ wanted: Bool) {
    for vring in vrings { vring.setWantsCalls(wanted) }
  }

  /// Sleeps until a vring is called or found broken, or the time has passed.
  ///
  /// - Parameter milliseconds: How long.
  public func wait(milliseconds: Int) { wait(milliseconds: milliseconds, orEndOf: nil) }

  /// The same, or until the other end of a socket is closed.
  package func wait(milliseconds: Int, orEndOf socket: OwnedFD?) {
    var entries = vrings.flatMap { [$0.call, $0.error] }.map {
      pollfd(fd: $0.rawValue, events: Int16(POLLIN), revents: 0)
    }
    // That the peer has gone is reported without asking.
    if let socket { entries.append(pollfd(fd: socket.rawValue, events: 0, revents: 0)) }
    let count = nfds_t(entries.count)
    _ = unsafe poll(&entries, count, CInt(clamping: milliseconds))
    for vring in vrings { vring.takeCalls() }
  }
}
