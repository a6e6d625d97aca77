internal import CLinux
internal import SystemPackage
internal import VDPA
internal import Virtio

/// A device's notification area: a file of a page for each vring, in which a write is a kick.
final class NotifyPages: Sendable {
  /// The size of a page in bytes.
  static let pageSize = 4096
  /// What stands in a page to which nobody has written: the number of no vring.
  private static let quiet = UInt32.max

  private let file: OwnedFD
  private let memory: GuestMemory

  /// Makes the pages.
  ///
  /// - Throws: ``SimulatorError`` `noResources`.
  init(device: String, count: Int) throws(SimulatorError) {
    let size = count * NotifyPages.pageSize
    do {
      file = try MemoryFile.make("\(device) doorbells", size: size)
      memory = try GuestMemory.table([
        (
          MemoryRegion(guestAddress: 0, size: UInt64(size), userAddress: 0, fileOffset: 0), file.descriptor
        )
      ])
    } catch {
      throw SimulatorError(
        .noResources, "simulated device \(device) has no memory for its notification area (\(error))",
        underlying: error as? Errno)
    }
    for index in 0..<count { _ = take(index) }
  }

  /// The page of a vring.
  func doorbell(of index: Int) -> Doorbell {
    Doorbell(file: file, offset: UInt64(index * NotifyPages.pageSize))
  }

  /// Whether somebody has written to the page of a vring since it was asked last. What was written does not matter.
  func take(_ index: Int) -> Bool {
    var view = memory.addressMap.view
    guard let place = unsafe view.contiguous(at: UInt64(index * NotifyPages.pageSize), length: 4, for: .readWrite)
    else { return false }
    // A guest writes two bytes; the others stay.
    guard unsafe clinux_load_u32(place) != NotifyPages.quiet else { return false }
    return unsafe clinux_exchange_u32(place, NotifyPages.quiet) != NotifyPages.quiet
  }
}
