import Testing

@testable import Virtio

@Suite struct MemoryRegionTests {
  @Test func endsMustBeComputable() throws {
    func isAccepted(_ guest: UInt64, _ size: UInt64, _ user: UInt64, _ offset: UInt64) -> Bool {
      do throws(VirtioError) {
        let region = try MemoryRegion(guestAddress: guest, size: size, userAddress: user, fileOffset: offset)
        return region.guestEnd == guest + size
      } catch {
        #expect(error.code == .regionOutOfRange && error.description.contains("0x"))
        return false
      }
    }
    let top = UInt64(Int64.max)
    #expect(isAccepted(0, 1, 0, 0) && isAccepted(.max - 1, 1, .max - 1, top - 1) && isAccepted(0, top, 0, 0))
    #expect(!isAccepted(0, 0, 0, 0))
    #expect(!isAccepted(.max, 1, 0, 0) && !isAccepted(0, 1, .max, 0))
    #expect(!isAccepted(0, 1, 0, top) && !isAccepted(0, 1, 0, .max) && !isAccepted(0, top + 1, 0, 0))
    #expect(!isAccepted(0, .max, 0, 0) && !isAccepted(1 << 63, 1 << 63, 0, 0))
    #expect(!isAccepted(0, .max - 4095, 0, 8192), "CVE-2020-10722")
  }
}
