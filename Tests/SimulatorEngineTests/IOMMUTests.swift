import Foundation
import SimulatorEngine
import Testing
import VDPA
import Virtio

struct IOMMUTests {
  static let features: Features = [.version1, .netMergeableBuffers, .accessPlatform]
  static let setups = ["on-chip", "platform"].flatMap { translation in
    [Features(), .packedRing].map { (translation, $0) }
  }

  /// The guest's IOMMU gives its addresses back as they are, but only those that it has been asked for.
  @Test(arguments: setups) func aRingWaitsForATranslation(translation: String, format: Features) throws {
    let simulation = try Simulation("queues=1,translation=\(translation)")
    let guest = try TestGuest(regions: [1 << 20, 1 << 20])
    let port = try TestPort(guest, region: 0, bufferRegion: 1, features: format)
    func translating(_ memory: GuestMemory, _ address: UInt64, _ size: UInt64) throws -> GuestMemory {
      try memory.translating(address, size: size, to: address, in: .guest, for: .readWrite)
    }
    let (rings, buffers) = (guest.regions[0].guestAddress, guest.regions[1].guestAddress)
    let untranslated = try guest.memory().behindIOMMU(true)
    var memory = try translating(untranslated, rings, 1 << 20)
    let packets = (0..<20).map { packet($0, length: 64) }
    port.refill()
    port.send(packets)
    try simulation.configure(memory, port.vrings, features: IOMMUTests.features.union(format))
    func waits(_ index: Int, at addresses: ClosedRange<UInt64>) -> Bool {
      eventually {
        guard case .translationMissing(index, let miss)? = simulation.observer.reports.last else { return false }
        return addresses.contains(miss.address)
      }
    }
    // The transmit ring's buffers are behind those of the receive ring.
    let middle = buffers + UInt64(port.receive.size) * 2048
    #expect(waits(1, at: middle...(buffers + 1 << 20)))
    memory = try translating(memory, middle, guest.regions[1].guestEnd - middle)
    try simulation.changeMemory(to: memory)
    #expect(waits(0, at: buffers...middle))
    usleep(20_000)
    // Once for each wait.
    #expect(simulation.observer.reports.count == 2)
    #expect(simulation.device.statistics.map(\.iotlbMisses) == [1, 1])
    #expect(try port.take() == nil)
    try simulation.changeMemory(to: translating(memory, buffers, middle - buffers))
    #expect(try port.take(20) == packets)
    #expect(try port.roundTrip(packets) == packets)
    // A DMA map in which a larger range takes the place of a smaller one has neither for a moment, which may be a wait too.
    #expect(simulation.device.statistics.map(\.broken) == [0, 0])
    _ = try simulation.close()
    #expect(simulation.device.dmaMap.ranges.isEmpty)
    try simulation.end()
  }
}
