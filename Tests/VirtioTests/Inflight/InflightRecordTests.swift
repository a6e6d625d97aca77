import CLinux
import Glibc
import SystemPackage
import Testing

@testable import Virtio

/// The regions byte by byte, as the specification and other back-ends have them, and what becomes of those that no back-end
/// has written (vhost-user, Inflight I/O tracking; security.md, CVE-2021-3839 and 2026-86565).
@Suite struct InflightRecordTests {
  static let rings = [RingCase(format: .split, size: 4), RingCase(format: .packed, size: 4)]

  @Test("A ring's region is as long as libvhost-user's and DPDK's")
  func sizes() throws {
    // libvhost-user: 16 bytes an entry and 2 more, DPDK: 16 more; packed, DPDK: 32 an entry and 29 more; to multiples of 64.
    for (format, size, bytes) in [
      (RingLayout.Format.split, 1, 64), (.split, 2, 64), (.split, 128, 2112), (.split, 1024, 16448), (.packed, 1, 64),
      (.packed, 2, 128), (.packed, 3, 128), (.packed, 128, 4160), (.packed, 32768, 1_048_640),
    ] {
      let layout = try InflightLayout(format, queues: 3, queueSize: size)
      #expect(layout.queueBytes == bytes && layout.bytes == 3 * bytes)
    }
    #expect(throws: VirtioError.self) { try InflightLayout(.split, queues: 0, queueSize: 4) }
    for size in [0, 3, 65536] {
      #expect(throws: VirtioError.self) { try InflightLayout(.split, queues: 1, queueSize: size) }
    }
  }

  @Test("A file that is too small, misaligned or of the wrong kind is no record")
  func files() throws {
    let layout = try InflightLayout(.split, queues: 2, queueSize: 4)
    let file = FileDescriptor(rawValue: unsafe clinux_memfd("record"))
    defer { try? file.close() }
    try #require(ftruncate(file.rawValue, 4096) == 0)
    func refusal(_ offset: UInt64, _ size: UInt64, _ file: FileDescriptor) -> String? {
      do throws(VirtioError) {
        _ = try InflightRecord(file: file, offset: offset, size: size, layout: layout)
        return nil
      } catch {
        return error.code == .badInflightRecord ? error.description : "another code: \(error.code)"
      }
    }
    #expect(refusal(0, 256, file) == nil && refusal(3840, 256, file) == nil && refusal(0, 1 << 40, file) == nil)
    #expect(refusal(0, 255, file)?.contains("2 rings of 4 descriptors need 256") == true)
    #expect(refusal(3904, 256, file)?.contains("ends behind its file") == true)
    #expect(refusal(8, 256, file)?.contains("not a multiple of 64") == true)
    #expect(refusal(UInt64(Int64.max) - 63, 256, file) != nil)
    let null = try unsafe FileDescriptor.open("/dev/null", .readWrite)
    defer { try? null.close() }
    #expect(refusal(0, 256, null)?.contains("not memfd") == true)
  }

  @Test("A ring that the record has no room for is refused; a smaller one is not")
  func room() throws {
    let file = FileDescriptor(rawValue: unsafe clinux_memfd("record"))
    defer { try? file.close() }
    try #require(ftruncate(file.rawValue, 8192) == 0)
    let record = try InflightRecord(
      file: file, offset: 0, size: 8192, layout: InflightLayout(.split, queues: 2, queueSize: 64))
    for (index, format, size, isGood) in [
      (0, RingLayout.Format.split, 64, true), (1, .split, 1, true), (2, .split, 64, false), (-1, .split, 64, false),
      (0, .split, 128, false), (0, .packed, 64, false),
    ] {
      let queue = try? InflightQueue(record, index: index, ring: RingLayout(format, size: size))
      #expect((queue != nil) == isGood)
    }
  }

  // MARK: Byte by byte

  @Test func splitFields() throws {
    var bench = try InflightBench(RingCase(format: .split, size: 4), start: 7)
    let region = bench.region
    func header() -> [UInt16] { (0..<4).map { bench.memory.bytes.uint16(region + 8 + 2 * $0) } }
    func entry(_ i: UInt16) -> (inflight: UInt8, next: UInt16, counter: UInt64) {
      let at = region + 16 + 16 * UInt64(i)
      let bytes = bench.memory.bytes
      return (bytes.read(at, 1)[0], bytes.uint16(at + 6), bytes.uint64(at + 8))
    }
    var device = try bench.device()
    #expect(header() == [1, 4, 0, 7])
    bench.post(upTo: 3, [1])
    let chains = bench.fetchAll(&device)
    for (i, chain) in chains.enumerated() { #expect(entry(chain.id) == (1, 0, UInt64(i))) }
    device.returnChain(chains[1], written: 0)
    device.returnChain(chains[0], written: 0)
    #expect(header() == [1, 4, chains[0].id, 7])
    #expect(entry(chains[0].id).next == chains[1].id && entry(chains[0].id).inflight == 1)
    device.publishChains()
    #expect(header() == [1, 4, chains[0].id, 9])
    #expect(chains.map { entry($0.id).inflight } == [0, 0, 1])
    #expect(bench.memory.bytes.uint64(region) == 0)
  }

  @Test func packedFields() throws {
    // In the third of four descriptors, on the lap with the counter 0.
    var bench = try InflightBench(RingCase(format: .packed, size: 4), start: 2)
    let region = bench.region
    func header() -> [UInt16] { (0..<7).map { bench.memory.bytes.uint16(region + 8 + 2 * $0) } }
    func entry(_ i: UInt64) -> [UInt64] {
      let at = region + 32 + 32 * i
      let bytes = bench.memory.bytes
      return [UInt64(bytes.read(at, 1)[0])] + [2, 4, 6].map { UInt64(bytes.uint16(at + $0)) } + [bytes.uint64(at + 8)]
    }
    var device = try bench.device()
    // Version, descriptors, free head and the old one, used index and the old one, both wrap counters.
    #expect(header() == [1, 4, 0, 0, 2, 2, 0])
    #expect((0..<4).map { entry($0)[1] } == [1, 2, 3, 4])
    bench.post(upTo: 2, [2, 1])
    let chains = bench.fetchAll(&device)
    #expect(header() == [1, 4, 3, 3, 2, 2, 0])
    // In flight, next, last, number, counter.
    #expect(entry(0) == [1, 1, 1, 2, 0] && entry(2) == [1, 3, 2, 1, 1])
    for (i, position) in [UInt64(2), 3, 0].enumerated() {
      let (own, ring) = (bench.memory.bytes, bench.descriptors + 16 * position)
      let at = region + 32 + 32 * UInt64(i)
      #expect(own.uint64(at + 24) == own.uint64(ring) && own.uint32(at + 20) == own.uint32(ring + 8))
      #expect(own.uint16(at + 16) == own.uint16(ring + 12) && own.uint16(at + 18) == own.uint16(ring + 14))
    }
    device.returnChain(chains[0], written: 0)
    // Behind the last descriptor positions begin again with the other wrap counter.
    #expect(header() == [1, 4, 0, 0, 0, 0, 0x0101])
    #expect(entry(0)[0] == 0 && entry(1)[1] == 3 && entry(2)[0] == 1)
  }

  // MARK: Of others

  /// A region that another back-end has left, which has fetched three chains and returned the second.
  @Test(arguments: rings) func takenOver(_ ring: RingCase) throws {
    var bench = try InflightBench(ring, start: ring.start, capacity: 8)
    var device = try bench.device()
    bench.post(upTo: 3, [1, 1, 2])
    let chains = bench.fetchAll(&device)
    device.returnChain(chains[1], written: 0)
    device.publishChains()
    #expect(try bench.collect() == [1])
    // Its counters are far, and not in the order of entries.
    for (i, counter) in [(0, UInt64(1) << 60), (2, 1 << 40)] {
      let stride = UInt64(ring.format == .split ? 16 : 32)
      bench.memory.bytes.write(bench.region + stride + UInt64(chains[i].entry) * stride + 8, counter)
    }
    bench.post(upTo: 4, [1])
    var next = try bench.device()
    #expect(next.resubmissions == 2)
    let again = bench.fetchAll(&next)
    #expect(bench.numbers(again) == [2, 0, 3] && next.resubmissions == 0)
    for chain in again { next.returnChain(chain, written: 0) }
    next.publishChains()
    #expect(try bench.collect() == [2, 0, 3])
  }

  // MARK: Written by nobody

  /// Writes that make a region one that no back-end leaves, each behind two chains in flight, and what is said of it.
  private static let faults: [(format: RingLayout.Format, offset: UInt64, value: UInt16, said: String)] = [
    (.split, 8, 2, "version 2"), (.packed, 8, 2, "version 2"), (.split, 0, 1, "features 0x1"),
    (.packed, 0, 4, "features 0x4"), (.split, 10, 5, "for 5 descriptors"), (.packed, 10, 3, "for 3 descriptors"),
    (.split, 14, 100, "not of this ring"), (.packed, 16, 4, "descriptor 4 is used next"),
    (.packed, 18, 0x7fff, "descriptor 32767 is used next"),
    // The free list: a loop, and one that begins in a chain.
    (.packed, 32 + 3 * 32 + 2, 2, "loop"), (.packed, 14, 1, "which is not its"),
    // The chain of entries 0 and 1: no entries, more than there are, an end that is none, a next that is out.
    (.packed, 32 + 6, 0, "does not end where it says"), (.packed, 32 + 6, 0xffff, "which is not its"),
    (.packed, 32 + 4, 0, "does not end where it says"), (.packed, 32 + 2, 9, "leads to entry 9"),
    (.packed, 32 + 2, 0, "leads to entry 0"), (.packed, 32 + 0, 0, "neither free nor part of a chain"),
  ]

  @Test func everyFault() throws {
    for (format, offset, value, said) in Self.faults {
      var bench = try InflightBench(RingCase(format: format, size: 4), start: format == .split ? 0 : 0x8000)
      var device = try bench.device()
      bench.post(upTo: 1, [2])
      _ = bench.fetchAll(&device)
      bench.memory.bytes.write(bench.region + offset, value)
      let error = #expect(throws: VirtioError.self) { _ = try bench.device() }
      #expect(error?.code == .badInflightRecord && error?.message.contains(said) == true, "\(offset): \(error as Any)")
    }
  }

  @Test("A last batch that leads out of the record is refused")
  func lastBatch() throws {
    for (head, next) in [(UInt16(9), UInt16(0)), (0, 9)] {
      var bench = try InflightBench(RingCase(format: .split, size: 4), start: 0)
      var device = try bench.device()
      bench.post(upTo: 3, [1])
      let chains = bench.fetchAll(&device)
      for chain in chains[..<2] { device.returnChain(chain, written: 0) }
      // As if it had died right after the used index, which another two chains make known.
      device.publishChains()
      bench.memory.bytes.write(bench.region + 14, UInt16(0))
      bench.memory.bytes.write(bench.region + 12, head)
      for i in 0..<4 { bench.memory.bytes.write(bench.region + 16 + 16 * UInt64(i) + 6, next) }
      let error = #expect(throws: VirtioError.self) { _ = try bench.device() }
      #expect(error?.message.contains("names descriptor 9 among those used last") == true, "\(error as Any)")
    }
  }

  @Test("A split record with nothing in flight says nothing, whatever ring it was for")
  func clean() throws {
    var bench = try InflightBench(RingCase(format: .split, size: 4), start: 0)
    var device = try bench.device()
    bench.memory.bytes.write(bench.region + 14, UInt16(40_000))
    device = try bench.device()
    bench.post(upTo: 2, [1])
    #expect(bench.numbers(bench.fetchAll(&device)) == [0, 1])
  }

  @Test("A chain at a descriptor that a smaller ring does not have is refused")
  func smallerRing() throws {
    let bench = try InflightBench(RingCase(format: .split, size: 4), start: 0, capacity: 8)
    _ = try bench.device()
    bench.memory.bytes.write(bench.region + 16 + 16 * 5, UInt16(1))
    #expect(throws: VirtioError.self) { _ = try bench.device() }
  }

  @Test("A record whose file is truncated is not an empty one", arguments: rings)
  func truncated(_ ring: RingCase) throws {
    try BusErrorGuard.install()
    var bench = try InflightBench(ring, start: ring.start)
    let file = FileDescriptor(rawValue: unsafe clinux_memfd("record"))
    defer { try? file.close() }
    try #require(ftruncate(file.rawValue, 4096) == 0)
    let record = try InflightRecord(
      file: file, offset: 0, size: 4096, layout: InflightLayout(ring.format, queues: 1, queueSize: ring.size))
    bench.queue = try InflightQueue(record, index: 0, ring: RingLayout(ring.format, size: ring.size))
    let device = try bench.device()
    #expect(device.recordLoss == nil)
    try #require(ftruncate(file.rawValue, 0) == 0)
    let error = #expect(throws: VirtioError.self) { _ = try bench.device() }
    #expect(error?.code == .badInflightRecord && error?.message.contains("shrunk") == true, "\(error as Any)")
    #expect(device.recordLoss == error?.message)
  }

  @Test("A recorded chain whose descriptors are wrong breaks the ring and nothing else", arguments: rings)
  func badChain(_ ring: RingCase) throws {
    let link = RingDescriptor.next
    // The address, the length, the flags of the first descriptor of a chain of two; packed, in the record.
    for (address, flags, fault) in [
      (UInt64(1) << 40, link, RingFault.unmapped), (0x20_0800, RingDescriptor.indirect | link, .indirectTable),
      (0x20_0800, link | RingDescriptor.write, .none), (0x20_0800, 0, ring.format == .packed ? .inflightRecord : .none),
    ] {
      var bench = try InflightBench(ring, start: ring.start)
      var device = try bench.device()
      bench.post(upTo: 1, [2])
      let chain = bench.fetchAll(&device)[0]
      let at = ring.format == .packed ? bench.region + 32 + 24 : bench.descriptors + 16 * UInt64(chain.id)
      bench.memory.bytes.write(at, address)
      bench.memory.bytes.write(ring.format == .packed ? bench.region + 32 + 18 : at + 12, flags)
      var next = try bench.device()
      let again = bench.fetchAll(&next)
      #expect(next.fault == fault && again.count == (fault == .none ? 1 : 0))
      #expect(next.resubmissions == 0)
    }
  }

  @Test(
    "A recorded chain that the guest's IOMMU is not known to translate waits, and keeps nobody waiting",
    arguments: rings)
  func untranslated(_ ring: RingCase) throws {
    var bench = try InflightBench(ring, start: ring.start, features: .accessPlatform)
    var device = try bench.device()
    bench.post(upTo: 2, [2])
    _ = bench.fetchAll(&device)
    var next = try bench.device()
    #expect(next.resubmissions == 2)
    let nothing = GuestMemory.empty
    let chain = next.fetchChain(into: SegmentList(), memory: nothing.addressMap.view, outstanding: 0)
    #expect(chain == nil && next.miss != nil && next.fault == .none && next.resubmissions == 0)
    next.move(to: bench.area)
    #expect(next.resubmissions == 2)
    #expect(bench.numbers(bench.fetchAll(&next)) == [0, 1])
  }

  @Test("Chains that share descriptors are more than the ring has", arguments: rings)
  func shared(_ ring: RingCase) throws {
    var bench = try InflightBench(ring, start: ring.start)
    var device = try bench.device()
    bench.post(upTo: 2, [3, 1])
    let chains = bench.fetchAll(&device)
    if ring.format == .split {
      // The second one becomes as long as the first.
      bench.memory.bytes.write(bench.descriptors + 16 * UInt64(chains[1].id) + 12, RingDescriptor.next)
      bench.memory.bytes.write(bench.descriptors + 16 * UInt64(chains[1].id) + 14, chains[0].id)
      var next = try bench.device()
      #expect(bench.fetchAll(&next).count == 1 && next.fault == .descriptorOrder || next.fault == .chainLoop)
    } else {
      bench.memory.bytes.write(bench.region + 32 + 32 * UInt64(chains[1].entry) + 2, UInt16(0))
      bench.memory.bytes.write(bench.region + 32 + 32 * UInt64(chains[1].entry) + 6, UInt16(2))
      #expect(throws: VirtioError.self) { _ = try bench.device() }
    }
  }

  @Test("Whatever stands in a record, taking it over and serving the ring end", arguments: rings)
  func random(_ ring: RingCase) throws {
    var random = SplitMix(seed: 5)
    var refused = 0
    var served = 0
    for round in 0..<1500 {
      var bench = try InflightBench(ring, start: ring.start)
      var device = try bench.device()
      bench.post(upTo: 4, [1, 2, 0])
      _ = bench.fetchAll(&device)
      // A few fields, or all of it but for the version and the size.
      let stride: UInt64 = ring.format == .split ? 16 : 32
      if round % 2 == 0 {
        for _ in 0..<Int.random(in: 1...4, using: &random) {
          let offset = UInt64.random(in: 6..<(stride + 4 * stride) / 2, using: &random) * 2
          bench.memory.bytes.write(bench.region + offset, UInt16.random(in: 0...5, using: &random))
        }
      } else {
        for offset in Swift.stride(from: UInt64(12), to: stride * 5, by: 2) {
          bench.memory.bytes.write(bench.region + offset, UInt16.random(in: 0...4, using: &random))
        }
      }
      guard var next = try? bench.device() else {
        refused += 1
        continue
      }
      served += 1
      let held = bench.fetchAll(&next)
      try require(held.count <= ring.size, "round \(round)")
      for chain in held { next.returnChain(chain, written: 0) }
      next.publishChains()
      _ = bench.fetchAll(&next)
    }
    #expect(refused > 100 && served > 100)
  }
}
