import Glibc
import Testing
import VDPA
import Virtio

@testable import Datapath

/// Requests that a device had when it died, and the one that comes after it.
@Suite struct ChainQueueInflightTests {
  /// Answers with the first byte of each request.
  private struct Echo: SoftwareDevice {
    let type = DeviceType.entropy
    func process(_ chain: consuming Chain, queue: Int) {
      guard let bytes = chain.read(at: 0, count: 1) else { return }
      chain.write(bytes, at: 0)
    }
  }

  private func ends(_ before: (engine: SoftwareEngine, device: any Device), _ keeper: KeepingDevice) {
    // What it returns now is lost on everybody.
    keeper.finishAll()
    _ = try? before.device.close()
    before.engine.stop()
  }

  @Test(
    "What a device had is done again in order, once, and reported; then the record has nothing",
    arguments: SoftwareDeviceTests.formats)
  func doneAgain(features: Features) throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: features, hasRecord: true)
    defer { guest.end() }
    let ids = try (0..<5).map { try #require(guest.post([UInt8($0)], room: 1, isIndirect: $0 % 2 == 1)) }
    guest.kick()
    try #require(keeper.wait(for: 5))
    let before = try guest.takeOver(by: Echo())
    let back = try guest.collect(5)
    #expect(back.map(\.id) == ids && back.map(\.written) == (0..<5).map { [UInt8($0)] })
    #expect(guest.reports.all == [.requestsResubmitted(index: 0, count: 5)])

    let states = try guest.device.close()
    try guest.configure()
    #expect(try guest.device.close() == states)
    #expect(guest.reports.all.count == 1)
    ends(before, keeper)
  }

  @Test("A ring that is stopped at once is stopped when all is done again", arguments: SoftwareDeviceTests.formats)
  func drained(features: Features) throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: features, hasRecord: true)
    defer { guest.end() }
    for i in 0..<4 { _ = guest.post([UInt8(i)], room: 1) }
    guest.kick()
    try #require(keeper.wait(for: 4))
    let before = try guest.takeOver(by: Echo())
    let state = try #require(try guest.device.close().first)
    #expect(state.nextAvail == state.nextUsed)
    #expect(try guest.collect(4).map(\.written) == [[0], [1], [2], [3]])
    ends(before, keeper)
  }

  @Test(
    "Behind an IOMMU, what was in flight waits for its translations; a ring that is stopped meanwhile leaves it in the record",
    arguments: [[.version1, .accessPlatform], [.version1, .accessPlatform, .packedRing]] as [Features])
  func translated(features: Features) throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: features, hasRecord: true)
    defer { guest.end() }
    for i in 0..<3 { _ = guest.post([UInt8(i)], room: 1) }
    guest.kick()
    try #require(keeper.wait(for: 3))
    let region = guest.memory.regions[0]
    let whole = try guest.memory.behindIOMMU(true).translating(
      region.guestAddress, size: region.size, to: region.guestAddress, in: .guest, for: .readWrite)
    let part = whole.withdrawing(0x1_8000, size: 0x1000)
    guest.memory = part
    let before = try guest.takeOver(by: Echo())
    let reports: [DeviceReport] = [
      .requestsResubmitted(index: 0, count: 3),
      .translationMissing(index: 0, miss: .init(address: 0x1_8000, access: .read)),
    ]
    for _ in 0..<20_000 where guest.reports.all.count < 2 { usleep(500) }
    // In either order: the worker and whoever configures are two.
    #expect(guest.reports.all.count == 2 && Set(guest.reports.all) == Set(reports))
    _ = try guest.device.close()
    #expect(guest.drivers[0].outstanding == 3)
    try guest.configure()
    for _ in 0..<20_000 where guest.reports.all.count < 4 { usleep(500) }
    #expect(Set(guest.reports.all.dropFirst(2)) == Set(reports))
    // Taking something else away waits for none of them.
    try guest.device.memoryChanged(from: part, to: part.withdrawing(0x1_f000, size: 0x1000))
    try guest.device.memoryChanged(from: part, to: whole)
    #expect(try guest.collect(3).map(\.written) == [[0], [1], [2]])
    ends(before, keeper)
  }

  @Test("A record that no back-end has written is an error that names the ring, and the ring is not served")
  func foreign() throws {
    let keeper = KeepingDevice()
    let guest = try ChainGuest(keeper, features: [.version1], hasRecord: true)
    defer { guest.end() }
    _ = guest.post([1], room: 1)
    guest.kick()
    try #require(keeper.wait(for: 1))
    // The ring says that more was used than the record can explain.
    if case .split(let area) = guest.drivers[0].memory { area.publishUsedIndex(1000) }
    let error = #expect(throws: DatapathError.self) { _ = try guest.takeOver(by: Echo()) }
    let text = error?.description ?? ""
    #expect(text.contains("guest vring 0") && text.contains("not of this ring"), "\(text)")
  }
}
