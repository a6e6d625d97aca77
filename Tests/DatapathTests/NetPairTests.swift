import Synchronization
import Testing
import VDPA
import Virtio

@testable import Datapath

/// A queue pair turn by turn, without its worker's thread taking part.
struct NetPairTests {
  private final class Observer: DeviceObserver {
    let reports = Mutex<[DeviceReport]>([])
    func deviceReports(_ report: DeviceReport) { reports.withLock { $0.append(report) } }
  }

  private let burst = PacketBurst()

  /// A pair that serves the rings of `guest`; its worker sleeps.
  private func withPair(
    _ guest: RingsUnderTest, port: sending any NetPort = LoopbackPort(), _ body: (NetPair) throws -> Void
  ) throws {
    let worker = try Worker(name: "test", mode: .event, cpu: nil)
    defer { worker.stop() }
    let pair = NetPair(
      name: "vm0 queue pair 0", worker: worker, port: port, receive: OwnedVring(name: "vm0 vring 0"),
      transmit: OwnedVring(name: "vm0 vring 1"))
    try pair.receive.change { $0 = guest.receive }
    try pair.transmit.change { $0 = guest.transmit }
    try body(pair)
  }

  @Test("While one of its vrings is changed, a pair is passed over and loses nothing")
  func passedOver() throws {
    let guest = try RingsUnderTest()
    guest.offer(4)
    guest.send([1, 2])
    try withPair(guest) { pair in
      for vring in [pair.receive, pair.transmit] {
        try vring.change { _ in #expect(pair.serve(burst, isPolled: true) == 0) }
      }
      #expect(try guest.received() == [])
      #expect(pair.serve(burst, isPolled: true) == 2)
      #expect(try guest.received() == [1, 2])
    }
  }

  @Test("A disabled transmit ring is emptied, whatever the worker's burst was left with by others")
  func disabledIsEmptied() throws {
    let guest = try RingsUnderTest()
    guest.send([1, 2, 3])
    try withPair(guest) { pair in
      try pair.transmit.change { $0?.isEnabled = false }
      burst.clear()
      for _ in 0..<PacketBurst.capacity { _ = burst.append(length: 60) { _ in } }
      #expect(pair.serve(burst, isPolled: true) == 3)
      #expect(try guest.returned() == 3)
      #expect(guest.transmit?.counters.snapshot.dropped == 3)
    }
  }

  @Test("A vring can be stopped and started while the other one stays as it is")
  func oneByOne() throws {
    let guest = try RingsUnderTest()
    guest.offer(4)
    guest.send([1])
    try withPair(guest) { pair in
      let stopped = try pair.receive.change { vring in
        defer { vring = nil }
        return vring
      }
      #expect(pair.serve(burst, isPolled: false) == 0)
      try pair.receive.change { $0 = stopped }
      #expect(pair.serve(burst, isPolled: false) == 1)
      #expect(try guest.received() == [1])
    }
  }

  @Test("What is sent on a disabled ring is dropped, and the guest gets its buffers back")
  func disabled() throws {
    let guest = try RingsUnderTest()
    guest.offer(4)
    guest.send([1, 2, 3])
    try withPair(guest) { pair in
      try pair.transmit.change { $0?.isEnabled = false }
      #expect(pair.serve(burst, isPolled: true) == 3)
      #expect(try guest.returned() == 3)
      #expect(try guest.received() == [])
    }
  }

  @Test("A broken ring is reported once, with its index and why")
  func fault() throws {
    let observer = Observer()
    let guest = try RingsUnderTest(observer: observer)
    guest.offer(4)
    guest.breakTransmitRing()
    try withPair(guest, port: SinkPort()) { pair in
      for _ in 0..<3 { #expect(pair.serve(burst, isPolled: false) == 0) }
      let reports = observer.reports.withLock { $0 }
      #expect(reports == [.vringBroken(index: 1, reason: RingFault.availableIndex.description)])
    }
  }

  @Test("A pair is to be polled as soon as one of its running vrings has no kick descriptor")
  func polling() throws {
    let guest = try RingsUnderTest()
    try withPair(guest) { pair in
      #expect(pair.needsPolling)
      let kicks = (try EventFD.make(), try EventFD.make())
      try pair.receive.change { $0?.kick = kicks.0 }
      #expect(pair.needsPolling)
      try pair.transmit.change { $0?.kick = kicks.1 }
      #expect(!pair.needsPolling)
      try pair.transmit.change { $0 = nil }
      try pair.receive.change { $0 = nil }
      #expect(!pair.needsPolling)
    }
  }
}
