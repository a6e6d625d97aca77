internal import VDPA

/// A block written and read.
final class BlockProbe: Probe {
  private static let length = 512
  private let queue: BlockQueueDriver
  private let sector: UInt64
  private var number: UInt64 = 0

  init(_ guest: DriverGuest, vring: Int, patience: Duration) throws {
    queue = try BlockQueueDriver(guest, vring: vring)
    queue.patience = patience
    sector = UInt64(vring)
  }

  var answers: [Range<UInt64>] { [queue.data..<queue.data + UInt64(BlockProbe.length)] }

  func exchange() throws {
    number += 1
    let block = NumberedPacket(pair: 0, number: number, time: sector, length: BlockProbe.length).encoded
    try queue.write(block, sector: sector)
    try require(try queue.read(sector: sector, count: block.count) == block, "a block is read otherwise than written")
  }
}
