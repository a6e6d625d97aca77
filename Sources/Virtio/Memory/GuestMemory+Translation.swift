extension GuestMemory {
  /// The address space in which a front-end says what an IO virtual address stands for.
  public enum TargetSpace: Sendable {
    /// That of its own process.
    case user
    /// That of the guest: physical addresses.
    case guest
  }

  /// A page of any IOMMU has at least as many bytes.
  private static let pageSize: UInt64 = 4096

  /// Whether devices see IO virtual addresses: what a guest's IOMMU makes of its memory.
  public var isTranslated: Bool { translations != nil }

  /// The snapshot as devices see it that are behind the guest's IOMMU, or that are not (VIRTIO_F_ACCESS_PLATFORM).
  ///
  /// Memory that is translated from now on has no address before ``translating(_:size:to:in:for:keeping:)``.
  public func behindIOMMU(_ isTranslated: Bool) -> GuestMemory {
    guard isTranslated != self.isTranslated else { return self }
    return GuestMemory(self, translations: isTranslated ? IOTLB() : nil)
  }

  /// The snapshot without any translation; memory that is not translated stays as it is.
  public func forgettingTranslations() -> GuestMemory {
    guard let translations, !translations.entries.isEmpty else { return self }
    return GuestMemory(self, translations: IOTLB())
  }

  /// Adds a translation in place of whatever its addresses stood for (vhost-user, IOTLB update).
  ///
  /// There is room for thousands of ranges; when there is none, others go.
  ///
  /// - Parameters:
  ///   - address: The first IO virtual address.
  ///   - size: In bytes, at least 1.
  ///   - target: What it stands for; all of it must be in regions, though not in one.
  ///   - space: The address space of `target`.
  ///   - access: What may be done there; with nothing, the addresses are taken away.
  ///   - keeping: Ranges of IO virtual addresses that do not go to make room: those of rings. Asked for only then.
  /// - Throws: ``VirtioError`` `regionOutOfRange`, `noSuchRegion`, or `misalignedTranslation`; then nothing has changed.
  public func translating(
    _ address: UInt64, size: UInt64, to target: UInt64, in space: TargetSpace = .user, for access: AddressMap.Access,
    keeping: @autoclosure () -> [ClosedRange<UInt64>] = []
  ) throws(VirtioError) -> GuestMemory {
    guard size > 0, !address.addingReportingOverflow(size).overflow, !target.addingReportingOverflow(size).overflow
    else {
      throw VirtioError(
        .regionOutOfRange,
        "a translation of \(hex(size)) bytes at \(hex(address)) to \(hex(target)) is empty or exceeds the address space"
      )
    }
    guard !access.isEmpty else { return withdrawing(address, size: size) }
    let regions = self.regions
    var new = translations ?? IOTLB()
    lazy var kept = keeping()
    var done: UInt64 = 0
    while done < size {
      let at = target + done
      let found = regions.first { region in
        let start = space == .user ? region.userAddress : region.guestAddress
        return at >= start && at - start < region.size
      }
      guard let region = found else {
        throw VirtioError(
          .noSuchRegion,
          "a translation of \(hex(size)) bytes at \(hex(address)) leads to \(hex(at)), which is in no memory region")
      }
      let inside = at - (space == .user ? region.userAddress : region.guestAddress)
      let entry = IOTLB.Entry(
        start: address + done, size: min(size - done, region.size - inside),
        guestAddress: region.guestAddress + inside, access: access)
      // So whatever is aligned for the guest is where it is read.
      guard (entry.start ^ entry.guestAddress) % GuestMemory.pageSize == 0 else {
        throw VirtioError(
          .misalignedTranslation,
          "the translation of \(hex(entry.start)) to the guest's \(hex(entry.guestAddress)) is not one of pages")
      }
      new.map(entry, in: region.guestAddress..<region.guestEnd) { entry in
        kept.contains { $0.lowerBound <= entry.last && $0.upperBound >= entry.start }
      }
      done += entry.size
    }
    return GuestMemory(self, translations: new)
  }

  /// The guest physical address of what devices see at one of theirs; nil for what is not translated.
  package func guestAddress(ofDevice address: UInt64) -> UInt64? {
    guard let translations else { return address }
    let found = translations.entries[translations.indices(address, through: address)].first
    return found.map { $0.guestAddress + (address - $0.start) }
  }

  /// Takes translations away (vhost-user, IOTLB invalidate); those of a part of what is translated too.
  ///
  /// - Parameters:
  ///   - address: The first IO virtual address.
  ///   - size: In bytes; 0, or more than there are, for all that follow.
  /// - Returns: This snapshot, when there is nothing to take away.
  public func withdrawing(_ address: UInt64, size: UInt64) -> GuestMemory {
    guard var rest = translations else { return self }
    let end = address.addingReportingOverflow(size)
    let last = size == 0 || end.overflow ? UInt64.max : end.partialValue - 1
    guard !rest.indices(address, through: last).isEmpty else { return self }
    rest.unmap(address, through: last)
    return GuestMemory(self, translations: rest)
  }
}

private func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
