extension DeviceRing {
  /// Returns what a device calls a chain: one that came with a burst, in any order; or, by a simulated device that is
  /// broken, one that no driver has made available. ``publishChains()`` announces it.
  ///
  /// - Parameters:
  ///   - id: Its id.
  ///   - length: How many bytes were written into its buffers.
  ///   - descriptors: How many descriptors of the ring it takes.
  package mutating func returnEntry(id: UInt16, length: UInt32, descriptors: Int) {
    switch memory {
    case .split(let area): use(area, id: id, length: length, descriptors: descriptors)
    case .packed(let area): use(area, id: id, length: length, descriptors: descriptors)
    }
  }
}
