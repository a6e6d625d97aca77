import Foundation
import Testing

@testable import Peers

struct PcapTests {
  static let frames = Array(NumberedFrames(count: 20, seed: 3))

  @Test("What is written is read back")
  func roundTrip() throws {
    let written = Pcap(frames: Self.frames)
    #expect(try Pcap(parsing: written.encoded()) == written)
    #expect(try Pcap(parsing: Pcap().encoded()).frames.isEmpty)
  }

  @Test("A file of the other byte order, with nanoseconds, reads the same")
  func bigEndian() throws {
    func word(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }
    let bytes =
      word(0xa1b2_3c4d) + [0, 2, 0, 4] + word(0) + word(0) + word(96) + word(1)
      + word(7) + word(999_999_999) + word(3) + word(60) + [1, 2, 3]
    let read = try Pcap(parsing: bytes)
    #expect(read.precision == .nanoseconds)
    #expect(read.snapLength == 96)
    #expect(read.linkType == 1)
    #expect(read.frames == [[1, 2, 3]])
    #expect(read.packets[0].seconds == 7)
    #expect(read.packets[0].fraction == 999_999_999)
    #expect(read.packets[0].originalLength == 60)
  }

  @Test("A file cut off anywhere but between packets is refused")
  func everyTruncation() throws {
    let whole = Pcap(frames: [[UInt8](repeating: 1, count: 5), [UInt8](repeating: 2, count: 3)]).encoded()
    let boundaries = [24: 0, 24 + 16 + 5: 1, whole.count: 2]
    for length in 0...whole.count {
      let cut = Array(whole.prefix(length))
      if let packets = boundaries[length] {
        #expect(try Pcap(parsing: cut).packets.count == packets)
      } else {
        #expect(throws: PeerError.self) { try Pcap(parsing: cut) }
      }
    }
  }

  @Test("A packet longer than any capture holds is refused, and so is another kind of file")
  func hostile() throws {
    var bytes = Pcap(frames: [[1]]).encoded()
    bytes.replaceSubrange(24 + 8..<24 + 12, with: [0xff, 0xff, 0xff, 0xff])
    #expect(throws: PeerError.self) { try Pcap(parsing: bytes) }
    // pcapng's section header block.
    #expect(throws: PeerError.self) {
      try Pcap(parsing: [0x0a, 0x0d, 0x0d, 0x0a] + [UInt8](repeating: 0, count: 60))
    }
  }

  @Test("An error of a file names the file")
  func files() throws {
    let scratch = try ScratchDirectory()
    let path = scratch.file("a.pcap")
    try Pcap(frames: Self.frames).write(to: path)
    #expect(try Pcap(contentsOf: path).frames == Self.frames)
    try Data([1, 2]).write(to: URL(fileURLWithPath: path))
    let error = #expect(throws: PeerError.self) { try Pcap(contentsOf: path) }
    #expect(error?.description.contains(path) == true)
    #expect(throws: PeerError.self) { try Pcap(contentsOf: scratch.file("none")) }
    #expect(throws: PeerError.self) { try Pcap().write(to: scratch.file("none/none")) }
  }
}
