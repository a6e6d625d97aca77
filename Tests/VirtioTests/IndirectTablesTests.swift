import Testing

@testable import Virtio

@Suite struct IndirectTablesTests {
  @Test func addresses() throws {
    let memory = try TestMemory([
      .init(start: 0x1_0000, size: 4096), .init(start: 0x1_1000, size: 4096), .init(start: 0x3_0008, size: 4088),
    ])
    func isAccepted(_ address: UInt64) -> Bool {
      do throws(VirtioError) {
        _ = try IndirectTables(count: 4, length: 3, at: address, memory: memory.view)
        return true
      } catch {
        #expect(error.code == .badRingAddress)
        return false
      }
    }
    #expect(IndirectTables.bytes(count: 4, length: 3) == 192)
    #expect(isAccepted(0x1_0000) && isAccepted(0x1_0f40) && isAccepted(0x1_1f40) && isAccepted(0x3_0010))
    for bad in [0x1_0008, 0x1_0001, 0x1_0f50, 0x1_1f50, 0xfff0, 0x1_2000, 0x3_0000, 0, 0xffff_ffff_ffff_fff0]
      as [UInt64]
    {
      #expect(!isAccepted(bad), "\(bad)")
    }
  }
}
