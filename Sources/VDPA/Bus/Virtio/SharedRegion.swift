public import Virtio

/// A piece of memory that a driver shares with whoever serves it: where it is, and the file that it is in.
public struct SharedRegion: Sendable {
  /// Its addresses, its size in bytes, and where it begins in its file.
  public let region: MemoryRegion
  /// A memfd, or a file of tmpfs or hugetlbfs.
  public let file: OwnedFD

  /// A region in a file.
  public init(_ region: MemoryRegion, file: OwnedFD) {
    self.region = region
    self.file = file
  }
}
