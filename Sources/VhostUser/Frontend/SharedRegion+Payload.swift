internal import VDPA
internal import Virtio

extension SharedRegion {
  /// The region as SET_MEM_TABLE and ADD_MEM_REG have it.
  var payload: MemoryRegionPayload {
    MemoryRegionPayload(
      guestAddress: region.guestAddress, size: region.size, userAddress: region.userAddress,
      mapOffset: region.fileOffset)
  }
}
