import CLinux
import Foundation
import Synchronization
import Testing

@testable import Virtio

/// Driver side and device side on threads of their own, which sleep whenever there is nothing to do: no packet is lost
/// or torn, and no side sleeps while there is something for it.
@Suite struct RingPairRaceTests {
  private static let size = 8
  private static let packets = 4000
  /// So long nobody sleeps without being told; only a test that fails waits for it.
  private static let patience = DispatchTimeInterval.seconds(60)

  /// How the sides tell each other.
  private final class Wires: Sendable {
    let kick = DispatchSemaphore(value: 0)
    let call = DispatchSemaphore(value: 0)
    let isOver = Atomic<Bool>(false)
    /// What the driver has found wrong.
    let failure = Mutex<String?>(nil)

    func fail(_ reason: String) {
      failure.withLock { $0 = $0 ?? reason }
      isOver.store(true, ordering: .sequentiallyConsistent)
      kick.signal()
    }
  }

  /// The guest: sends numbered packets and gets them back. It belongs to its thread once that runs.
  private final class Guest: @unchecked Sendable {
    let bytes: GuestBytes
    let wires: Wires
    var tx: DriverRing
    var rx: DriverRing
    var sent = 0
    var received = 0
    /// Which buffer a chain of the receive ring is for.
    var buffers: [UInt16: Int] = [:]
    var given = 0

    init(_ memory: TestMemory, _ wires: Wires, tx: DriverRing, rx: DriverRing) {
      bytes = memory.bytes
      self.wires = wires
      self.tx = tx
      self.rx = rx
    }

    static func packet(_ number: Int) -> [UInt8] {
      let length = 12 + 8 + number % 20
      return [UInt8](repeating: 0, count: 12)
        + (0..<length - 12).map { UInt8(truncatingIfNeeded: number >> (8 * min($0, 3)) &+ $0) }
    }

    func run() throws {
      while !wires.isOver.load(ordering: .sequentiallyConsistent) {
        give()
        if try take() { continue }
        tx.setWantsCalls(true)
        rx.setWantsCalls(true)
        if try !take() && wires.call.wait(timeout: .now() + RingPairRaceTests.patience) == .timedOut {
          if try take() { throw Unmet(description: "no call for packet \(received)") }
          throw Unmet(description: "the device stands still at packet \(received)")
        }
        tx.setWantsCalls(false)
        rx.setWantsCalls(false)
      }
    }

    private func give() {
      while rx.freeCount > 0 {
        let slot = given % RingPairRaceTests.size
        let pieces = (0..<min(2, rx.freeCount)).map { i in
          DriverRing.Piece(address: 0x2_0400 + UInt64(slot * 64 + i * 20), length: i == 0 ? 20 : 44, isWritable: true)
        }
        // Where there is no room for two, one has to be long enough.
        let chain = pieces.count == 2 ? pieces : [.init(address: pieces[0].address, length: 64, isWritable: true)]
        guard let id = rx.add(chain) else { break }
        buffers[id] = slot
        given += 1
      }
      if rx.publish() { wires.kick.signal() }
      while tx.freeCount > 0 && sent < RingPairRaceTests.packets {
        let address = 0x1_0400 + UInt64(sent % RingPairRaceTests.size * 64)
        let packet = Guest.packet(sent)
        bytes.write(address, packet)
        guard tx.add([.init(address: address, length: UInt32(packet.count), isWritable: false)]) != nil else { break }
        sent += 1
      }
      if tx.publish() { wires.kick.signal() }
    }

    /// Takes everything back; false when there was nothing.
    private func take() throws -> Bool {
      var isSome = false
      while try tx.collect() != nil { isSome = true }
      while let (id, length) = try rx.collect() {
        isSome = true
        guard let slot = buffers.removeValue(forKey: id) else { throw Unmet(description: "buffer \(id)") }
        let packet = Guest.packet(received)
        try require(Int(length) == packet.count, "packet \(received) has \(length) bytes")
        let found = bytes.read(0x2_0400 + UInt64(slot * 64), Int(length))
        try require(found.dropFirst(12) == packet.dropFirst(12), "packet \(received): \(found)")
        received += 1
        if received == RingPairRaceTests.packets {
          wires.isOver.store(true, ordering: .sequentiallyConsistent)
          wires.kick.signal()
        }
      }
      return isSome
    }
  }

  @Test(arguments: RingLayout.Format.allCases, [[], .eventIndex] as [Features])
  func nothingIsLost(_ format: RingLayout.Format, features: Features) throws {
    let memory = try TestMemory([.init(start: 0x1_0000, size: 0x800), .init(start: 0x2_0000, size: 0x800)])
    let ring = RingCase(format: format, size: Self.size)
    let rawTx = RawRing(memory.bytes, format, size: Self.size, at: 0x1_0000, start: ring.start)
    let rawRx = RawRing(memory.bytes, format, size: Self.size, at: 0x2_0000, start: ring.start)
    let wires = Wires()
    let guest = Guest(
      memory, wires, tx: DriverRing(try rawTx.area(memory.view), features: features),
      rx: DriverRing(try rawRx.area(memory.view), features: features))
    var source = try rawTx.device(memory, features)
    var sink = try rawRx.device(memory, features)
    let driver = GuestThread(once: {
      do { try guest.run() } catch { wires.fail("\(error)") }
    })
    defer {
      wires.isOver.store(true, ordering: .sequentiallyConsistent)
      wires.call.signal()
      driver.stop()
    }

    let burst = PacketBurst()
    func move() -> Bool {
      burst.clear()
      let taken = source.dequeueBurst(into: burst, limit: 5, memory: memory.view, headerLength: 12)
      burst.clearHeaders(length: 12)
      let moved = sink.enqueueBurst(from: burst, first: 0, memory: memory.view, headerLength: 12, mergeable: false)
      source.complete(burst, first: 0, count: moved)
      source.giveBack(burst, first: moved)
      if moved > 0 {
        // Each ring is asked.
        let calls = [source.wantsCall(), sink.wantsCall()]
        if calls.contains(true) { wires.call.signal() }
      }
      return moved > 0 || taken < 0
    }
    while !wires.isOver.load(ordering: .sequentiallyConsistent) {
      if move() { continue }
      source.setWantsKicks(true)
      sink.setWantsKicks(true)
      if !move() && wires.kick.wait(timeout: .now() + Self.patience) == .timedOut {
        let isLost = move()
        try require(!isLost, "no kick")
        throw Unmet(description: "the driver stands still")
      }
      source.setWantsKicks(false)
      sink.setWantsKicks(false)
      try require(source.fault == .none && sink.fault == .none, "\(source.fault) \(sink.fault)")
    }
    let failure = wires.failure.withLock { $0 }
    #expect(failure == nil)
  }
}
