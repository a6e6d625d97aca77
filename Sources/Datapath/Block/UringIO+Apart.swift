extension UringIO {
  /// What is done by a thread and not by the ring, besides the discards of a block device, which io_uring has only learnt
  /// lately.
  struct Apart: OptionSet {
    let rawValue: UInt8

    static let reads = Apart(rawValue: 1)
    /// Those that need not be on stable storage when they complete.
    static let writes = Apart(rawValue: 2)

    /// What io_uring does worse: the writes of a file, most of which it hands to a thread of the kernel's one by one, and,
    /// where the file system is memory, its reads, for the same reason.
    static func whatIsWorse(on file: BlockFile) -> Apart {
      var apart: Apart = []
      if !file.isBlockDevice { apart.insert(.writes) }
      if file.isInMemory { apart.insert(.reads) }
      return apart
    }
  }
}
