import Virtio

extension DirtyLog {
  /// Refuses a log without a bit for a page that devices would note in it.
  ///
  /// - Parameters:
  ///   - memory: What they can reach.
  ///   - vrings: The rings whose device areas may be noted somewhere else.
  /// - Throws: `.badMemory`, with the figures.
  func check(covers memory: GuestMemory, _ vrings: [SessionVring] = []) throws(VhostUserError) {
    if let last = memory.regions.last { try check(from: last.guestAddress, length: last.size, "guest memory") }
    // Behind an IOMMU a device area is noted where it is in guest memory, whatever the front-end calls it.
    for vring in vrings where !memory.isTranslated {
      guard let noted = vring.notedArea else { continue }
      do throws(VhostUserError) {
        try check(from: noted.address, length: noted.length, "the used ring")
      } catch {
        throw error.with(ring: vring.index)
      }
    }
  }

  private func check(from address: UInt64, length: UInt64, _ what: String) throws(VhostUserError) {
    let end = address.addingReportingOverflow(length)
    guard end.overflow || !covers(upTo: end.partialValue) else { return }
    throw VhostUserError(
      .badMemory,
      "the dirty log has bits for \(pages) pages of \(DirtyLog.pageSize) bytes, too few for \(what) at "
        + "0x\(String(address, radix: 16)) (0x\(String(length, radix: 16)) bytes)")
  }
}
