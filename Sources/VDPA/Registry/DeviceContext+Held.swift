internal import Virtio

extension DeviceContext {
  /// The device with what the framework keeps for it. Only ever touched by one thread at a time.
  struct Held {
    let device: any Device
    let capabilities: DeviceCapabilities
    /// The snapshots that the device may use, the newest last; empty while it is neither configured nor prepared.
    private var memory: [GuestMemory] = []
    /// Whether it has been configured and not been closed since.
    private var isConfigured = false
    /// What the device's own DMA map has.
    private var mapped: [AddressMap.Range] = []
    /// Whether the device could not be closed when it was to be: it may do anything with what it was given, and is given
    /// nothing more before it has been closed.
    private var isStuck = false
    /// How its rings are laid out; nil while it is not configured.
    private var format: RingLayout.Format?

    init(device: any Device, capabilities: DeviceCapabilities) {
      self.device = device
      self.capabilities = capabilities
    }

    /// Does what can be done before the device is configured: checks, and the DMA map. Doing it again for the same memory
    /// does nothing.
    mutating func prepare(_ setup: DeviceSetup) throws {
      try checkNotStuck()
      guard !isConfigured else { throw VDPAError(.operationFailed, "it is configured already") }
      try check(setup)
      if memory.last === setup.memory { return }
      try forget()
      memory = [setup.memory]
      do {
        try map(setup.memory.addressMap.ranges)
      } catch {
        isStuck = (try? forget()) == nil
        throw error
      }
    }

    /// Unmaps what was mapped for a device that is not configured.
    private mutating func forget() throws {
      try unmap(mapped)
      memory = []
    }

    mutating func configure(_ setup: DeviceSetup) throws {
      try prepare(setup)
      format = RingLayout.Format(for: setup.features)
      do {
        try device.configure(setup)
        isConfigured = true
      } catch {
        isStuck = (try? forget()) == nil
        throw error
      }
    }

    func checkNotStuck() throws(VDPAError) {
      guard !isStuck else {
        throw VDPAError(.stuck, "it could not be closed before and may still use the memory that it had then")
      }
    }

    /// Closes the device, if it is configured, and unmaps guest memory. One that cannot be closed is fenced, and stays stuck. If
    /// that fails too, the memory is kept.
    ///
    /// - Returns: Where its rings stand, as far as it can say.
    mutating func close() throws -> [VringState] {
      guard !memory.isEmpty || isStuck else { return [] }
      let mayRun = isConfigured || isStuck
      isStuck = true
      let states: [VringState]
      do {
        states = mayRun ? try device.close() : []
      } catch {
        guard !memory.isEmpty, fence() else { throw VDPAError(.stuck, "\(error)") }
        return []
      }
      isConfigured = false
      try forget()
      isStuck = false
      return states
    }

    /// Whether the device cannot reach guest memory any more, whatever it does.
    private mutating func fence() -> Bool {
      guard capabilities.dmaTranslation != nil || capabilities.fencing != nil else { return false }
      do {
        try capabilities.fencing?.fence()
        try forget()
        return true
      } catch {
        return false
      }
    }

    mutating func setVring(_ vring: DeviceSetup.Vring) throws {
      try checkNotStuck()
      // One that is set before the device is configured is set once more with it, and checked then.
      try check(vring.description, isConfigured ? format : nil)
      try device.setVring(vring.description, enabled: vring.isEnabled)
    }

    mutating func changeMemory(to new: GuestMemory) throws {
      try checkNotStuck()
      guard isConfigured, let old = memory.last else { return }
      try check(new)
      // Whoever has no map of its own need not know: of what an IOMMU translates there can be thousands of ranges.
      let (gone, come) = capabilities.dmaTranslation == nil ? ([], []) : old.difference(to: new)
      // Until it is over, the device may use either.
      memory.append(new)
      let isReplaced = come.contains { range in gone.contains { $0.overlaps(range) } }
      if isReplaced { try unmap(gone) }
      try map(come)
      try device.memoryChanged(from: old, to: new)
      if !isReplaced { try unmap(gone) }
      memory = [new]
    }

    // MARK: Checks

    /// Refuses what the device has not offered, whatever the caller has checked.
    private func check(_ setup: DeviceSetup) throws(VDPAError) {
      let attributes = device.attributes
      let excess = setup.features.subtracting(attributes.features)
      guard excess.isEmpty else {
        throw VDPAError(.notOffered, "it does not offer \(excess.describe(for: attributes.type))")
      }
      try check(setup.memory)
      let format = RingLayout.Format(for: setup.features)
      for vring in setup.vrings { try check(vring.description, format) }
    }

    private func check(_ memory: GuestMemory) throws(VDPAError) {
      let reach = device.attributes.iovaRange
      if reach == 0...UInt64.max { return }
      for range in memory.addressMap.ranges
      where !reach.contains(range.start) || !reach.contains(range.start + (range.size - 1)) {
        throw VDPAError(
          .notOffered,
          "guest memory at 0x\(String(range.start, radix: 16)) (0x\(String(range.size, radix: 16)) bytes) is outside of "
            + "the addresses that the device reaches, 0x\(String(reach.lowerBound, radix: 16)) to "
            + "0x\(String(reach.upperBound, radix: 16))")
      }
    }

    private func check(_ vring: VringDescription, _ format: RingLayout.Format?) throws(VDPAError) {
      let attributes = device.attributes
      guard vring.index >= 0, vring.index < attributes.vringCount else {
        throw VDPAError(.notOffered, "it has \(attributes.vringCount) vrings and no vring \(vring.index)")
      }
      guard vring.size <= attributes.maxRingSize else {
        throw VDPAError(
          .notOffered,
          "vring \(vring.index) has \(vring.size) descriptors; the device takes \(attributes.maxRingSize) at most")
      }
      if !attributes.startsAnywhere, let format, vring.state.nextAvail != format.start {
        throw VDPAError(
          .notOffered,
          "vring \(vring.index) is to start at \(vring.state.nextAvail); the device starts at \(format.start) only")
      }
    }

    // MARK: The DMA map

    private mutating func map(_ ranges: [AddressMap.Range]) throws {
      guard let translation = capabilities.dmaTranslation else { return }
      for range in ranges {
        try translation.map(range)
        mapped.append(range)
      }
    }

    private mutating func unmap(_ ranges: [AddressMap.Range]) throws {
      guard let translation = capabilities.dmaTranslation else { return }
      for range in ranges {
        try translation.unmap(start: range.start, size: range.size)
        mapped.removeAll { $0.start == range.start }
      }
    }
  }
}

extension AddressMap.Range {
  /// Whether an address is in both.
  fileprivate func overlaps(_ other: AddressMap.Range) -> Bool {
    start < other.start ? other.start - start < size : start - other.start < other.size
  }
}
