import NetTestSupport
import Testing

@testable import Virtio

@Suite struct NetDeliveryTests {
  /// The 32 sets of GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN and GUEST_UFO.
  private static let guests: [Features] = (0..<32 as Range<UInt64>).map {
    Features(rawValue: ($0 & 1) << 1 | ($0 >> 1) << 7)
  }

  private func segmentation(isIPv6: Bool, hasECN: Bool, payload: Int = 100, size: Int = 40) -> TCPSegmentation? {
    let frame = TCPFrame(isIPv6: isIPv6, payload: payload)
    let bytes = frame.bytes
    let header = NetHeader(
      flags: 1, gsoType: (isIPv6 ? 4 : 1) | (hasECN ? 0x80 : 0), gsoSize: UInt16(size),
      checksumStart: UInt16(frame.transport), checksumOffset: 16)
    guard case .segmentation(let found) = NetOffload(header, frame: bytes.span, features: .netHostOffloads) else {
      return nil
    }
    return found
  }

  @Test("A complete packet goes as it is, to every guest, and nothing is claimed of its checksum")
  func plain() {
    for features in Self.guests {
      #expect(NetOffload.none.delivery(length: 60, to: features) == .asIs(NetHeader()))
    }
  }

  @Test("A checksum stays open for a guest that takes that, and is computed for every other")
  func checksum() {
    for features in Self.guests {
      let delivery = NetOffload.checksum(start: 34, offset: 6).delivery(length: 60, to: features)
      if features.rawValue & 2 != 0 {
        #expect(delivery == .asIs(NetHeader(flags: 1, checksumStart: 34, checksumOffset: 6)))
      } else {
        #expect(delivery == .completeChecksum(start: 34, offset: 6))
      }
    }
  }

  @Test("A large packet stays whole for a guest that takes it, and becomes segments for every other")
  func segmentation() throws {
    for isIPv6 in [false, true] {
      for hasECN in [false, true] {
        let packet = try #require(segmentation(isIPv6: isIPv6, hasECN: hasECN))
        for features in Self.guests {
          let takesChecksums = features.rawValue & 1 << 1 != 0
          // Large packets presuppose open checksums (virtio 1.2, §5.1.3.1).
          let takesIt =
            takesChecksums && features.rawValue & 1 << (isIPv6 ? 8 : 7) != 0
            && (!hasECN || features.rawValue & 1 << 9 != 0)
          let delivery = NetOffload.segmentation(packet).delivery(length: 200, to: features)
          if takesIt {
            #expect(delivery == .asIs(packet.header))
          } else {
            #expect(delivery == .segments(packet, NetHeader(flags: takesChecksums ? 2 : 0)))
          }
        }
      }
    }
  }

  @Test("The MTU holds for whatever is not segmented, and cuts segments")
  func mtu() throws {
    for offload in [NetOffload.none, .checksum(start: 34, offset: 6)] {
      #expect(offload.delivery(length: 61, to: .netGuestOffloads, maxLength: 60) == .drop(.longerThanMTU))
      #expect(offload.delivery(length: 60, to: .netGuestOffloads, maxLength: 60) != .drop(.longerThanMTU))
    }
    let packet = try #require(segmentation(isIPv6: false, hasECN: false))
    let offload = NetOffload.segmentation(packet)
    #expect(offload.delivery(length: 154, to: .netGuestOffloads, maxLength: 60) == .asIs(packet.header))
    guard case .segments(let limited, let header) = offload.delivery(length: 154, to: [], maxLength: 60) else {
      Issue.record("no segments")
      return
    }
    #expect(limited.count == 17 && limited.length(of: 0) == 60 && header == NetHeader())
    #expect(offload.delivery(length: 154, to: [], maxLength: 54) == .drop(.longerThanMTU))
    #expect(NetConfiguration(mac: .zero, mtu: 1500).frameLength == 1522)
  }

  @Test("An invalid header goes to nobody", arguments: NetHeaderFault.allCases)
  func invalid(fault: NetHeaderFault) {
    for features in Self.guests {
      #expect(NetOffload.invalid(fault).delivery(length: 60, to: features) == .drop(fault))
    }
    #expect(!fault.description.isEmpty)
    #expect(NetHeaderFault.allCases.filter { $0.description == fault.description } == [fault])
  }
}
