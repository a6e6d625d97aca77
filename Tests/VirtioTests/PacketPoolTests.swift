import Dispatch
import Synchronization
import Testing

@testable import Virtio

struct PacketPoolTests {
  @Test(
    "Numbers that make no pool are refused, with those that do",
    arguments: [(0, 64), (-1, 64), (Int.max, 64), (1 << 21 + 1, 64), (1, 0), (1, -1), (1, 65551), (1, Int.max)])
  func refused(count: Int, length: Int) throws {
    let error = try #require(throws: VirtioError.self) { try PacketPool(count: count, payloadLength: length) }
    #expect(error.code == .badPacketPool)
    #expect(error.description.contains("not \(count) of \(length)") && error.description.contains("65550"))
  }

  @Test(
    "A pool has as many buffers as it says, each of the length that it says", arguments: [1, 63, 64, 65, 1514, 65550])
  func buffers(length: Int) throws {
    let pool = try PacketPool(count: 70, payloadLength: length)
    #expect(pool.count == 70 && pool.payloadLength == length && pool.freeCount == 70)
    let bursts = (0..<3).map { _ in PacketBurst(pool) }
    var packets = 0
    for burst in bursts {
      #expect(burst.maxPayloadLength == length)
      #expect(!burst.append(length: length + 1) { _ in })
      while burst.append(
        length: length,
        { payload in
          for i in 0..<payload.count { payload[i] = UInt8(truncatingIfNeeded: packets) }
        })
      { packets += 1 }
    }
    #expect(packets == 70 && pool.freeCount == 0)
    // No buffer reaches into another, nor does its header.
    for (b, burst) in bursts.enumerated() {
      for i in 0..<burst.count {
        #expect(burst.payload(i) == [UInt8](repeating: UInt8(b * 32 + i), count: length))
        #expect(burst.header(of: i) == NetHeader())
      }
    }
  }

  @Test("All buffers come back: when packets go, beyond those in reserve, and when bursts go, the rest")
  func conservation() throws {
    let pool = try PacketPool(count: 128, payloadLength: 64)
    do {
      let (one, two) = (PacketBurst(pool), PacketBurst(pool))
      for round in 0..<50 {
        for i in 0..<PacketBurst.capacity { #expect(one.append([UInt8(i)])) }
        one.filter { ($0 + round) % 5 != 0 }
        one.move(to: two) { ($0 + round) % 3 == 0 }
        one.removeFirst(one.count / 2)
        if round % 4 == 3 { two.clear() }
        let held = one.count + two.count
        #expect(pool.freeCount >= 128 - held - 2 * PacketBurst.capacity && pool.freeCount <= 128 - held)
        one.clear()
      }
    }
    #expect(pool.freeCount == 128)
  }

  @Test("An empty pool is said once, and a buffer that comes back can be had again")
  func starved() throws {
    let pool = try PacketPool(count: 32, payloadLength: 64)
    let two = PacketBurst(pool)
    do {
      let one = PacketBurst(pool)
      for _ in 0..<32 { #expect(one.append([1])) }
      #expect(!one.takeStarved() && !two.takeStarved())
      #expect(!two.append([2]))
      #expect(two.takeStarved() && !two.takeStarved())
      one.clear()
      // They are in its reserve.
      #expect(pool.freeCount == 0 && one.append([3]) && !two.append([4]))
    }
    #expect(pool.freeCount == 32 && two.append([4]))
  }

  @Test("Threads that share a pool never share a buffer, and lose none")
  func threads() throws {
    let pool = try PacketPool(count: 256, payloadLength: 64)
    let shared = Atomic<Int>(0)
    let packets = Atomic<Int>(0)
    DispatchQueue.concurrentPerform(iterations: 4) { number in
      let (one, two) = (PacketBurst(pool), PacketBurst(pool))
      for round in 0..<2000 {
        let mark = UInt8(number << 6 | round & 0x3f)
        while one.append(length: 64, { payload in for i in 0..<64 { payload[i] = mark } }) {
          packets.add(1, ordering: .relaxed)
        }
        one.move(to: two) { ($0 ^ round) & 1 == 0 }
        for burst in [one, two] {
          for i in 0..<burst.count where burst.payload(i) != [UInt8](repeating: mark, count: 64) {
            shared.add(1, ordering: .relaxed)
          }
          burst.clear()
        }
      }
    }
    #expect(shared.load(ordering: .relaxed) == 0)
    #expect(packets.load(ordering: .relaxed) > 0)
    #expect(pool.freeCount == 256)
  }
}
