import NetTestSupport
import Testing

@testable import Virtio

@Suite struct NetOffloadTests {
  private let memory = PageEndBytes(capacity: 65664)

  /// What a header means; the frame stands where nothing behind it can be touched.
  private func check(
    _ header: NetHeader, _ frame: [UInt8], features: Features = .netHostOffloads, maxLength: Int = .max
  ) -> NetOffload {
    var result = NetOffload.none
    _ = memory.with(frame) {
      result = NetOffload(header, frame: $0.span, features: features, maxLength: maxLength)
    }
    return result
  }

  /// The header that asks for segmentation of a frame.
  private func header(for frame: TCPFrame, size: UInt16 = 8) -> NetHeader {
    NetHeader(
      flags: 1, gsoType: frame.isIPv6 ? 4 : 1, headerLength: UInt16(frame.headerLength), gsoSize: size,
      checksumStart: UInt16(frame.transport), checksumOffset: 16)
  }

  // MARK: Checksums

  @Test("csum_start beyond the packet (CVE-2024-11614): every start and offset of every short packet")
  func checksums() {
    let far: [Int] = [0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff]
    for length in 0...20 {
      let frame = [UInt8](repeating: 0, count: length)
      for start in Array(0...23) + far {
        for offset in Array(0...23) + far {
          let header = NetHeader(flags: 1, checksumStart: UInt16(start), checksumOffset: UInt16(offset))
          let isInside = start + offset + 2 <= length
          #expect(
            check(header, frame) == (isInside ? .checksum(start: start, offset: offset) : .invalid(.checksumOutside)))
        }
      }
    }
  }

  @Test("Without NEEDS_CSUM nobody looks at csum_start and csum_offset, whatever the other flags are")
  func ignoredFlags() {
    for flags in UInt8.min...UInt8.max {
      let header = NetHeader(flags: flags, checksumStart: 0xffff, checksumOffset: 0xffff, bufferCount: 0xffff)
      #expect(check(header, [0, 0]) == (flags & 1 == 0 ? .none : .invalid(.checksumOutside)))
      #expect(check(header, [0, 0], features: []) == (flags & 1 == 0 ? .none : .invalid(.checksumNotNegotiated)))
    }
  }

  @Test("A packet longer than the MTU allows is invalid, unless it is to be segmented")
  func maxLength() {
    let frame = TCPFrame(payload: 100)
    let bytes = frame.bytes
    for header in [NetHeader(), NetHeader(flags: 1, checksumStart: 34, checksumOffset: 16)] {
      #expect(check(header, bytes, maxLength: bytes.count - 1) == .invalid(.longerThanMTU))
      #expect(check(header, bytes, maxLength: bytes.count) == check(header, bytes))
    }
    guard case .segmentation = check(header(for: frame), bytes, maxLength: 10) else {
      Issue.record("a large packet is not too long")
      return
    }
  }

  // MARK: Segmentation

  @Test("hdr_len is not relied on, whatever it says", arguments: 0..<TCPHeadersTests.frames.count)
  func headerLengths(index: Int) {
    let frame = TCPHeadersTests.frames[index]
    let bytes = frame.bytes
    var header = header(for: frame)
    let right = check(header, bytes)
    guard case .segmentation(let found) = right else {
      Issue.record("\(right)")
      return
    }
    #expect(found.headers.payload == frame.headerLength && found.size == 8 && !found.hasECN)
    for length in UInt16.min...UInt16.max {
      header.headerLength = length
      guard check(header, bytes) == right else {
        Issue.record("hdr_len \(length)")
        return
      }
    }
  }

  @Test("gso_size 0 is invalid, for every frame that could be segmented", arguments: 0..<TCPHeadersTests.frames.count)
  func segmentSizeZero(index: Int) {
    let frame = TCPHeadersTests.frames[index]
    let bytes = frame.bytes
    for ecn: UInt8 in [0, 0x80] {
      var header = header(for: frame, size: 0)
      header.gsoType |= ecn
      #expect(check(header, bytes) == .invalid(.segmentSizeZero))
    }
    for size in [1, UInt16.max] {
      guard case .segmentation(let found) = check(header(for: frame, size: size), bytes) else {
        Issue.record("gso_size \(size)")
        continue
      }
      #expect(found.size == Int(size) && found.count == (size == 1 ? 30 : 1))
    }
  }

  @Test("A checksum that is not that of the TCP header is not segmented", arguments: 0..<TCPHeadersTests.frames.count)
  func misplaced(index: Int) {
    let frame = TCPHeadersTests.frames[index]
    let bytes = frame.bytes
    var header = header(for: frame)
    for start in 0...bytes.count {
      for offset in [0, 6, 15, 16, 17] {
        header.checksumStart = UInt16(start)
        header.checksumOffset = UInt16(offset)
        let result = check(header, bytes)
        if start == frame.transport && offset == 16 {
          guard case .segmentation = result else {
            Issue.record("\(result)")
            continue
          }
        } else {
          #expect(
            result == .invalid(start + offset + 2 <= bytes.count ? .checksumMisplaced : .checksumOutside),
            "\(start) + \(offset)")
        }
      }
    }
  }

  @Test("A frame that ends early is not segmented, wherever it ends", arguments: 0..<TCPHeadersTests.frames.count)
  func truncated(index: Int) {
    let frame = TCPHeadersTests.frames[index]
    let bytes = frame.bytes
    for count in 0..<bytes.count {
      let header = header(for: frame)
      #expect(
        check(header, Array(bytes.prefix(count)))
          == .invalid(count < frame.transport + 18 ? .checksumOutside : .headerLength), "\(count) bytes")
    }
  }

  @Test("The flag in the packet counts, the bit in the header too")
  func congestion() {
    for (flags, bit): (UInt8, UInt8) in [(0, 0), (0, 0x80), (TCPFrame.cwr, 0), (TCPFrame.cwr, 0x80)] {
      let frame = TCPFrame(payload: 20, flags: TCPFrame.ack | flags)
      var header = header(for: frame)
      header.gsoType |= bit
      guard case .segmentation(let found) = check(header, frame.bytes) else {
        Issue.record("not segmented")
        continue
      }
      #expect(found.hasECN == (flags | bit != 0))
    }
  }

  // MARK: Features

  /// The rules of §5.1.6.2.1, one after the other.
  private func model(_ header: NetHeader, _ frame: TCPFrame, _ features: Features) -> NetHeaderFault? {
    let type = header.gsoType & 0x7f
    let isECN = header.gsoType & 0x80 != 0
    let needsChecksum = header.flags & 1 != 0
    let asks = needsChecksum || header.gsoType != 0
    if !asks { return nil }
    if header.gsoType != 0 {
      if ![1, 3, 4, 5].contains(type) { return .segmentationUnknown }
      let isNegotiated =
        type == 1 && features.rawValue & 1 << 11 != 0 || type == 4 && features.rawValue & 1 << 12 != 0
      if !isNegotiated || isECN && features.rawValue & 1 << 13 == 0 { return .segmentationNotNegotiated }
      if !needsChecksum { return .segmentationWithoutChecksum }
    }
    if features.rawValue & 1 == 0 { return .checksumNotNegotiated }
    if header.gsoType != 0 && header.gsoSize == 0 { return .segmentSizeZero }
    if Int(header.checksumStart) + Int(header.checksumOffset) + 2 > frame.bytes.count { return .checksumOutside }
    if header.gsoType == 0 { return nil }
    if frame.isIPv6 != (type == 4) { return .notTCP }
    return header.checksumStart == frame.transport && header.checksumOffset == 16 ? nil : .checksumMisplaced
  }

  @Test("Every combination of features, flags and gso_type means what the standard says", arguments: [false, true])
  func features(isIPv6: Bool) {
    let frame = TCPFrame(isIPv6: isIPv6, payload: 20)
    let bytes = frame.bytes
    for set in 0..<64 as Range<UInt64> {
      // CSUM, HOST_TSO4, HOST_TSO6, HOST_ECN, HOST_UFO, and HOST_USO.
      let features = Features(rawValue: (set & 1) | ((set >> 1) & 0xf) << 11 | (set >> 5) << 56)
      for gsoType in UInt8.min...UInt8.max {
        for flags in UInt8(0)...8 {
          for (size, start): (UInt16, Int) in [(0, frame.transport), (7, frame.transport), (7, 20), (7, 0xffff)] {
            let header = NetHeader(
              flags: flags, gsoType: gsoType, gsoSize: size, checksumStart: UInt16(start), checksumOffset: 16)
            let result = NetOffload(header, frame: bytes.span, features: features)
            let isRight: Bool
            switch (result, model(header, frame, features)) {
            case (.invalid(let fault), let expected?): isRight = fault == expected
            case (.none, nil): isRight = flags & 1 == 0 && gsoType == 0
            case (.checksum(start, 16), nil): isRight = flags & 1 != 0 && gsoType == 0
            case (.segmentation(let found), nil): isRight = gsoType != 0 && found.size == 7
            default: isRight = false
            }
            guard isRight else {
              Issue.record("\(header) with \(features.describe(for: .net)): \(result)")
              return
            }
          }
        }
      }
    }
  }

  // MARK: Hostile guests

  @Test("Random headers in front of random and of nearly right packets read and write nothing outside of them")
  func random() {
    var random = SplitMix(seed: 11)
    let out = PageEndBytes(capacity: 65664)
    var segmented = 0
    for _ in 0..<30_000 {
      let shape = TCPHeadersTests.frames[Int.random(in: 0..<TCPHeadersTests.frames.count, using: &random)]
      var frame = shape.bytes
      if Int.random(in: 0..<4, using: &random) == 0 {
        frame = (0..<Int.random(in: 0...200, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      }
      for _ in 0..<Int.random(in: 0...3, using: &random) where !frame.isEmpty {
        frame[Int.random(in: 0..<frame.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      if Int.random(in: 0..<4, using: &random) == 0 {
        frame = Array(frame.prefix(Int.random(in: 0...frame.count, using: &random)))
      }
      var header = header(for: shape, size: UInt16.random(in: 0...40, using: &random))
      if Bool.random(using: &random) { header.flags = UInt8.random(in: 0...255, using: &random) }
      if Bool.random(using: &random) { header.gsoType = UInt8.random(in: 0...255, using: &random) & 0x87 }
      if Int.random(in: 0..<4, using: &random) == 0 {
        header.checksumStart = UInt16.random(in: 0...120, using: &random)
        header.checksumOffset = UInt16.random(in: 0...20, using: &random)
      }
      header.headerLength = UInt16.random(in: 0...0xffff, using: &random)
      _ = memory.with(frame) { span in
        switch NetOffload(header, frame: span.span, features: .netHostOffloads) {
        case .none, .invalid: break
        case .checksum(let start, let offset): InternetChecksum.complete(&span, start: start, offset: offset)
        case .segmentation(let found):
          segmented += 1
          var total = 0
          for i in 0..<found.count {
            let length = found.length(of: i)
            total += length - found.headers.payload
            let packet = span.span
            _ = out.with([UInt8](repeating: 0, count: length)) { found.write(i, of: packet, into: &$0) }
          }
          #expect(total == found.headers.end - found.headers.payload)
        }
      }
    }
    #expect(segmented > 1000)
  }
}
