import Testing

@testable import Virtio

@Suite struct PacketBurstTests {
  @Test func appending() {
    let burst = PacketBurst()
    for i in 0..<PacketBurst.capacity {
      #expect(burst.append([UInt8](repeating: UInt8(i), count: i), headerLength: 12))
    }
    #expect(!burst.append([UInt8](repeating: 0, count: 1), headerLength: 12))
    for i in 0..<PacketBurst.capacity {
      #expect(burst[i].length == 12 + i && burst[i].outcome == .pending && (burst[i].start + 12) % 64 == 0)
      #expect(burst.payload(i, headerLength: 12) == [UInt8](repeating: UInt8(i), count: i))
    }
    burst.clear()
    #expect(burst.count == 0)
    #expect(!burst.append([UInt8](repeating: 0, count: PacketBurst.maxLength - 11), headerLength: 12))
    var packets = 0
    while burst.append([UInt8](repeating: 0, count: PacketBurst.maxLength - 12), headerLength: 12) { packets += 1 }
    #expect(packets == 3, "as many of the longest as the arena holds")
  }

  @Test func filteringKeepsOrder() {
    let burst = PacketBurst()
    for i in 0..<8 { _ = burst.append([UInt8](repeating: 0, count: i), headerLength: 10) }
    burst.filter { $0 % 3 != 0 }
    #expect((0..<burst.count).map { burst[$0].length - 10 } == [1, 2, 4, 5, 7])
    burst.filter { _ in false }
    #expect(burst.count == 0)
  }
}
