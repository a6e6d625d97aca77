internal import CLinux

/// Descriptors in memory of this process, in the layout of a packed ring, so that a walk over them checks what a walk over
/// a ring checks.
@safe final class DescriptorCopies {
  private let memory: UnsafeMutableRawPointer
  private let count: Int

  /// Copies of the descriptors of one chain, one at least.
  init(_ descriptors: [RingDescriptor]) {
    count = descriptors.count
    // Behind them is room for the event suppression areas, which nobody looks at.
    unsafe memory = .allocate(byteCount: 16 * count + 8, alignment: 16)
    unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: 16 * count + 8)
    for (i, descriptor) in descriptors.enumerated() {
      let (low, high) = PackedRingArea.halves(descriptor)
      unsafe clinux_store_u64(memory + 16 * i, low)
      unsafe clinux_store_u64(memory + 16 * i + 8, high)
    }
  }

  deinit {
    unsafe memory.deallocate()
  }

  /// They are all that the ring has. To be used while this object is held.
  var area: PackedRingArea {
    unsafe PackedRingArea(
      size: count, descriptors: memory, driverEvent: memory + 16 * count, deviceEvent: memory + 16 * count + 4)
  }
}
