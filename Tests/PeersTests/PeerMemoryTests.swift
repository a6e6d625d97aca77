import Testing

@testable import Peers

struct PeerMemoryTests {
  static func information(free: Int, size: Int = 2048) -> String {
    "MemTotal: 24105 kB\nHugePages_Total:     600\nHugePages_Free:      \(free)\nHugepagesize:       \(size) kB\n"
  }

  @Test("Hugepages are taken when enough of them are free")
  func choice() {
    #expect(PeerMemory.choice(mebibytes: 128, memoryInformation: Self.information(free: 64)) == .hugePages)
    #expect(PeerMemory.choice(mebibytes: 128, memoryInformation: Self.information(free: 63)) == .ordinaryPages)
    #expect(
      PeerMemory.choice(mebibytes: 128, memoryInformation: Self.information(free: 1, size: 1_048_576)) == .hugePages)
    #expect(PeerMemory.choice(mebibytes: 128, memoryInformation: Self.information(free: 0)) == .ordinaryPages)
    #expect(PeerMemory.choice(mebibytes: 128, memoryInformation: "") == .ordinaryPages)
  }

  @Test("EAL refuses --in-memory together with --no-huge: no choice has both")
  func arguments() {
    #expect(
      PeerMemory.hugePages.arguments(mebibytes: 8, prefix: "p") == ["--in-memory", "--single-file-segments", "-m", "8"])
    let ordinary = PeerMemory.ordinaryPages.arguments(mebibytes: 8, prefix: "p")
    #expect(ordinary.contains("--no-huge"))
    #expect(!ordinary.contains("--in-memory"))
  }
}
