internal import CLinux

/// The memory of a split ring, shared with a peer that may write to any part of it at any time (virtio 1.2, §2.7).
///
/// Every access is one load or store of the field's width at an index that the ring's size bounds, so the ring logic
/// on top of it needs no unsafe code. Values are copies: what was checked is what is used.
@safe package struct SplitRingArea {
  /// A descriptor as it was when it was read.
  package struct Descriptor {
    package var address: UInt64
    package var length: UInt32
    package var flags: UInt16
    package var next: UInt16

    /// `VIRTQ_DESC_F_NEXT`
    package static let next: UInt16 = 1
    /// `VIRTQ_DESC_F_WRITE`: the device writes.
    package static let write: UInt16 = 2
    /// `VIRTQ_DESC_F_INDIRECT`
    package static let indirect: UInt16 = 4

    package init(address: UInt64, length: UInt32, flags: UInt16, next: UInt16) {
      self.address = address
      self.length = length
      self.flags = flags
      self.next = next
    }
  }

  /// `VIRTQ_AVAIL_F_NO_INTERRUPT`
  package static let noInterrupt: UInt16 = 1
  /// `VIRTQ_USED_F_NO_NOTIFY`
  package static let noNotify: UInt16 = 1

  private let descriptors: UnsafeMutableRawPointer
  private let avail: UnsafeMutableRawPointer
  private let used: UnsafeMutableRawPointer
  /// The ring's size less 1; the size is a power of two.
  package let mask: UInt16

  /// The number of descriptors.
  package var size: Int { Int(mask) &+ 1 }

  /// A ring in memory that covers what `layout` says, correctly aligned, for as long as the value is used.
  @unsafe package init(
    layout: SplitRingLayout, descriptors: UnsafeMutableRawPointer, avail: UnsafeMutableRawPointer,
    used: UnsafeMutableRawPointer
  ) {
    unsafe self.descriptors = descriptors
    unsafe self.avail = avail
    unsafe self.used = used
    mask = UInt16(layout.size - 1)
  }

  /// A ring at guest addresses.
  ///
  /// - Parameters:
  ///   - memory: Its map must be kept alive for as long as the ring is used.
  ///   - name: What the error calls the ring.
  /// - Throws: ``VirtioError`` `badRingAddress`, when a part is misaligned or not inside one memory region.
  package init(
    layout: SplitRingLayout, descriptor: UInt64, avail: UInt64, used: UInt64, memory: MemoryView
  ) throws(VirtioError) {
    var memory = memory
    func part(
      _ name: String, _ address: UInt64, _ length: Int, _ alignment: UInt64, _ access: AddressMap.Access
    ) throws(VirtioError) -> UnsafeMutableRawPointer {
      guard address % alignment == 0 else {
        throw VirtioError(
          .badRingAddress, "the \(name) at 0x\(String(address, radix: 16)) is not aligned to \(alignment) bytes")
      }
      guard let host = unsafe memory.contiguous(at: address, length: length, for: access) else {
        throw VirtioError(
          .badRingAddress,
          "the \(name) at 0x\(String(address, radix: 16)) (\(length) bytes) does not lie in one memory region")
      }
      guard UInt64(UInt(bitPattern: host)) % alignment == 0 else {
        throw VirtioError(
          .badRingAddress,
          "the \(name) at 0x\(String(address, radix: 16)) is in a memory region that is not aligned to pages")
      }
      return unsafe host
    }
    unsafe self.init(
      layout: layout,
      descriptors: try part(
        "descriptor table", descriptor, layout.descriptorBytes, SplitRingLayout.descriptorAlignment, .read),
      avail: try part("available ring", avail, layout.availBytes, SplitRingLayout.availAlignment, .read),
      used: try part("used ring", used, layout.usedBytes, SplitRingLayout.usedAlignment, .readWrite))
  }

  // MARK: What the driver writes and the device reads

  /// A descriptor, fetched once.
  @inline(__always) package func descriptor(_ index: UInt16) -> Descriptor {
    precondition(index <= mask)
    let at = unsafe descriptors + Int(index) &* 16
    let address = unsafe clinux_load_u64(at)
    let rest = unsafe clinux_load_u64(at + 8)
    return Descriptor(
      address: address, length: UInt32(truncatingIfNeeded: rest), flags: UInt16(truncatingIfNeeded: rest &>> 32),
      next: UInt16(truncatingIfNeeded: rest &>> 48))
  }

  /// The available index; what it announces is visible afterwards.
  @inline(__always) package var availIndex: UInt16 { unsafe clinux_load_acquire_u16(avail + 2) }
  /// The driver's flags.
  @inline(__always) package var availFlags: UInt16 { unsafe clinux_load_u16(avail) }
  /// The head at a position of the available ring; any position, the ring's size is taken off.
  @inline(__always) package func availHead(_ position: UInt16) -> UInt16 {
    unsafe clinux_load_u16(avail + 4 + Int(position & mask) &* 2)
  }

  package func setDescriptor(_ index: UInt16, _ value: Descriptor) {
    precondition(index <= mask)
    let at = unsafe descriptors + Int(index) &* 16
    unsafe clinux_store_u64(at, value.address)
    unsafe clinux_store_u64(at + 8, UInt64(value.length) | UInt64(value.flags) << 32 | UInt64(value.next) << 48)
  }
  package func setAvailHead(_ position: UInt16, _ head: UInt16) {
    unsafe clinux_store_u16(avail + 4 + Int(position & mask) &* 2, head)
  }
  package func publishAvailIndex(_ index: UInt16) { unsafe clinux_store_release_u16(avail + 2, index) }
  package func setAvailFlags(_ flags: UInt16) { unsafe clinux_store_u16(avail, flags) }

  // MARK: What the device writes and the driver reads

  /// Writes an entry of the used ring, not yet announced; any position, the ring's size is taken off.
  @inline(__always) package func setUsed(_ position: UInt16, head: UInt16, length: UInt32) {
    let at = unsafe used + 4 + Int(position & mask) &* 8
    unsafe clinux_store_u32(at, UInt32(head))
    unsafe clinux_store_u32(at + 4, length)
  }
  /// Announces the entries below `index`; what they stand for is visible before.
  @inline(__always) package func publishUsedIndex(_ index: UInt16) { unsafe clinux_store_release_u16(used + 2, index) }
  package func setUsedFlags(_ flags: UInt16) { unsafe clinux_store_u16(used, flags) }

  package var usedIndex: UInt16 { unsafe clinux_load_acquire_u16(used + 2) }
  package var usedFlags: UInt16 { unsafe clinux_load_u16(used) }
  package func usedEntry(_ position: UInt16) -> (id: UInt32, length: UInt32) {
    let at = unsafe used + 4 + Int(position & mask) &* 8
    return unsafe (clinux_load_u32(at), clinux_load_u32(at + 4))
  }
}
