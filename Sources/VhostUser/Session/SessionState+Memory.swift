import VDPA
import Virtio

/// Guest memory, and what the guest's IOMMU makes of it.
extension SessionState {
  /// The snapshot that a message asks for; it is taken over only when the device has it.
  func changedMemory(_ message: FrontendMessage) throws(VhostUserError) -> GuestMemory {
    let new: GuestMemory
    do throws(VirtioError) {
      switch message {
      case .setMemoryTable(let table, let descriptors):
        var regions: [(region: MemoryRegion, file: OwnedFD)] = []
        for (payload, descriptor) in zip(table.regions, descriptors) {
          regions.append((try MemoryRegion(payload), descriptor))
        }
        new = try GuestMemory.table(
          regions.map { ($0.region, $0.file.descriptor) }, replacing: memory, policy: offer.memoryPolicy)
      case .addMemoryRegion(let payload, let descriptor):
        new = try memory.adding(MemoryRegion(payload), file: descriptor.descriptor, policy: offer.memoryPolicy)
      case .removeMemoryRegion(let payload):
        new = try memory.removing(MemoryRegion(payload))
      default:
        new = memory
      }
    } catch {
      throw VhostUserError(.badMemory, "\(error)")
    }
    for vring in vrings { try vring.check(in: new) }
    try activeLog?.check(covers: new)
    return new
  }

  /// What the guest's IOMMU says of its addresses (vhost-user, VHOST_USER_IOTLB_MSG).
  func changeTranslations(_ payload: IOTLBPayload) throws(VhostUserError) -> SessionAction {
    let new: GuestMemory
    switch payload.kind {
    case .update:
      do throws(VirtioError) {
        new = try memory.translating(
          payload.address, size: payload.size, to: payload.userAddress,
          in: protocolFeatures.contains(.guestAddresses) ? .guest : .user, for: payload.access,
          keeping: vrings.flatMap(\.addressRanges))
      } catch {
        throw VhostUserError(.badMemory, "\(error)")
      }
    case .invalidate: new = memory.withdrawing(payload.address, size: payload.size)
    case .miss, .accessFailure: throw VhostUserError(.malformed, "IOTLB misses and failures are the back-end's to tell")
    }
    return new === memory ? .none : .changeTranslations(new)
  }

  /// Without a started ring nothing is translated any more: the next guest must not meet what the last one has left.
  mutating func forgetTranslations() {
    if isSuspended { take(memory.forgettingTranslations()) }
  }
}

extension MemoryRegion {
  init(_ payload: MemoryRegionPayload) throws(VirtioError) {
    try self.init(
      guestAddress: payload.guestAddress, size: payload.size, userAddress: payload.userAddress,
      fileOffset: payload.mapOffset)
  }
}
