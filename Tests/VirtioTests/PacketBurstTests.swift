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

  /// A burst with one packet for each number, whose only byte it is.
  private func burst(_ numbers: [UInt8], on pool: PacketPool? = nil) -> PacketBurst {
    let burst = pool.map { PacketBurst($0) } ?? PacketBurst()
    for number in numbers { #expect(burst.append([number])) }
    return burst
  }

  private func numbers(_ burst: PacketBurst) -> [UInt8] {
    (0..<burst.count).flatMap { burst.payload($0) }
  }

  @Test("An arena begins anew as soon as the last packet has gone, however it went")
  func arena() {
    let (burst, other) = (PacketBurst(), PacketBurst())
    let ends: [(PacketBurst) -> Void] = [
      { $0.clear() }, { $0.filter { _ in false } }, { $0.removeFirst($0.count) }, { $0.move(to: other) },
    ]
    for end in ends {
      for _ in 0..<3 {
        #expect(burst.append(length: PacketBurst.maxPayloadLength) { _ in })
      }
      #expect(!burst.append(length: 1) { _ in })
      end(burst)
      other.clear()
      #expect(burst.count == 0)
    }
  }

  @Test("Packets move in order until the other burst is full; the rest stay in order", arguments: [false, true])
  func moving(isPooled: Bool) throws {
    let pool = isPooled ? try PacketPool(count: 256, payloadLength: 64) : nil
    let one = burst(Array(0..<20), on: pool)
    let two = burst(Array(100..<120), on: pool)
    #expect(one.move(to: two) { $0 % 2 == 1 } == 10)
    #expect(numbers(one) == stride(from: 0, to: 20, by: 2).map { UInt8($0) })
    #expect(numbers(two) == Array(100..<120) + stride(from: 1, to: 20, by: 2).map { UInt8($0) })
    #expect(one.move(to: two) == 2)
    #expect(two.isFull && numbers(one) == [4, 6, 8, 10, 12, 14, 16, 18])
    #expect(one.move(to: two) == 0)
    two.removeFirst(30)
    #expect(numbers(two) == [0, 2])
  }

  @Test("Between bursts on one pool a packet stays where it is; elsewhere it is copied")
  func whereMovedPacketsAre() throws {
    func place(_ burst: PacketBurst) -> UInt {
      burst.withPayload(of: 0) { payload in
        unsafe payload.withUnsafeMutableBufferPointer { UInt(bitPattern: $0.baseAddress) }
      }
    }
    let pool = try PacketPool(count: 8)
    let other = try PacketPool(count: 8)
    let (one, two, three) = (burst([7], on: pool), PacketBurst(pool), PacketBurst(other))
    let start = place(one)
    #expect(start % 64 == 0)
    one.move(to: two)
    #expect(place(two) == start)
    two.move(to: three)
    #expect(place(three) != start && numbers(three) == [7])
    #expect(two.count == 0)
  }

  @Test("A header keeps what it says when its length changes, and its packet does", arguments: [false, true])
  func headerLengths(isPooled: Bool) throws {
    let pool = isPooled ? try PacketPool(count: 64) : nil
    let burst = burst([1, 2, 3], on: pool)
    let header = NetHeader(
      flags: 1, gsoType: 4, headerLength: 0x1234, gsoSize: 0x5678, checksumStart: 0x9abc, checksumOffset: 0xdef0,
      bufferCount: 0x1357)
    for i in 0..<3 { burst.setHeader(header, of: i) }
    burst.setHeaderLength(NetHeader.legacyLength)
    for i in 0..<3 { #expect(burst[i].length == 11 && (burst[i].start + 10) % 64 == 0) }
    burst.setHeaderLength(NetHeader.modernLength)
    var expected = header
    expected.bufferCount = 0
    for i in 0..<3 { #expect(burst.header(of: i) == expected && burst[i].length == 13) }
    #expect(numbers(burst) == [1, 2, 3])

    // Packets that come from elsewhere get headers of the length that those have where they go.
    let legacy = pool.map { PacketBurst($0) } ?? PacketBurst()
    legacy.setHeaderLength(NetHeader.legacyLength)
    #expect(legacy.append([4]))
    burst.move(to: legacy)
    for i in 0..<4 { #expect(legacy[i].length == 11) }
    #expect(numbers(legacy) == [4, 1, 2, 3])
    #expect(legacy.header(of: 0) == NetHeader() && legacy.header(of: 3) == expected)
  }

  @Test("A packet can be made shorter, never longer or negative")
  func truncating() async {
    let burst = burst([])
    #expect(burst.append([1, 2, 3, 4]))
    burst.truncate(0, to: 3)
    #expect(burst.payloadLength(of: 0) == 3 && burst.payload(0) == [1, 2, 3])
    burst.truncate(0, to: 0)
    #expect(burst.payload(0) == [])
    await #expect(processExitsWith: .failure) {
      let burst = PacketBurst()
      burst.append(length: 1) { _ in }
      burst.truncate(0, to: 2)
    }
  }

  @Test("A packet that is not there is not lent")
  func bounds() async {
    await #expect(processExitsWith: .failure) {
      let burst = PacketBurst()
      burst.append(length: 1) { _ in }
      burst.withPayload(of: 1) { _ in }
    }
    await #expect(processExitsWith: .failure) {
      PacketBurst().withPayload(of: -1) { _ in }
    }
  }

  @Test("A copy is equal and does not change with the packet that it was made of", arguments: [false, true])
  func copying(isPooled: Bool) throws {
    let pool = isPooled ? try PacketPool(count: 64, payloadLength: 4) : nil
    let one = burst([5], on: pool)
    one.setHeader(NetHeader(flags: 2), of: 0)
    let two = PacketBurst()
    #expect(two.append(copyOf: 0, from: one) && one.append(copyOf: 0, from: one))
    one.withPayload(of: 0) { $0[0] = 6 }
    #expect(numbers(two) == [5] && numbers(one) == [6, 5])
    #expect(two.header(of: 0).flags == 2 && one.header(of: 1).flags == 2)
    // Longer than the buffers are.
    #expect(two.append([1, 2, 3, 4, 5]))
    #expect(one.append(copyOf: 1, from: two) != isPooled)
    #expect(two.move(to: one) == (isPooled ? 1 : 2))
  }
}
