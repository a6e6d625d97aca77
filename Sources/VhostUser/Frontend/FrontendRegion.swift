public import VDPA
public import Virtio

/// A piece of memory that a front-end shares with its back-end: where it is, and the file that it is in.
public struct FrontendRegion: Sendable {
  /// Its addresses, its size in bytes, and where it begins in its file.
  public let region: MemoryRegion
  /// A memfd, or a file of tmpfs or hugetlbfs.
  public let file: OwnedFD

  /// A region in a file.
  public init(_ region: MemoryRegion, file: OwnedFD) {
    self.region = region
    self.file = file
  }

  var payload: MemoryRegionPayload {
    MemoryRegionPayload(
      guestAddress: region.guestAddress, size: region.size, userAddress: region.userAddress,
      mapOffset: region.fileOffset)
  }
}
