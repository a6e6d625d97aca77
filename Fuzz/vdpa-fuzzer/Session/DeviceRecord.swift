internal import Synchronization
internal import VDPA
internal import Virtio

/// What a device was told, and what it has to be told next: the calls have to come in a legal order, with what was
/// negotiated, in memory that is there.
///
/// The device is called on its own thread or on the session's, the fuzzer looks on from a third.
final class DeviceRecord: Sendable {
  struct State {
    /// Guest memory while it is configured.
    var memory: GuestMemory?
    var features: Features = []
    /// The rings that it serves.
    var vrings: [Int: DeviceSetup.Vring] = [:]
    var observer: (any DeviceObserver)?
    /// Whether pages of guest memory may be on their way, so that a look could wait for ever.
    var isArriving = false
    /// How many of its next operations go well before one fails; nil for all.
    var goesWell: Int?
    var savedState: [UInt8] = Array(0..<64)
  }

  struct Refusal: Error, CustomStringConvertible { let description = "it was told to refuse" }

  let state = Mutex(State())
  let offered: Features
  let vringCount: Int
  let maxRingSize: Int

  init(offered: Features, vringCount: Int, maxRingSize: Int) {
    (self.offered, self.vringCount, self.maxRingSize) = (offered, vringCount, maxRingSize)
  }

  /// Fails if the device is to fail here.
  func attempt() throws {
    try state.withLock { state in
      guard let left = state.goesWell else { return }
      state.goesWell = left > 0 ? left - 1 : nil
      if left == 0 { throw Refusal() }
    }
  }

  func configure(_ setup: DeviceSetup) throws {
    try attempt()
    state.withLock { state in
      Oracle.require(state.memory == nil, "the device is configured twice")
      Oracle.require(offered.isSuperset(of: setup.features), "the device is configured with what it does not offer")
      Oracle.require(!setup.memory.regions.isEmpty, "the device is configured without memory")
      let indices = setup.vrings.map(\.description.index)
      Oracle.require(indices == Set(indices).sorted(), "vrings are not in order: \(indices)")
      Oracle.require(
        indices.starts(with: 0..<DeviceType.net.ringsPerQueue), "the device is configured with vrings \(indices) only")
      for vring in setup.vrings { check(vring, setup.features, in: setup.memory, reads: !state.isArriving) }
      state.memory = setup.memory
      state.features = setup.features
      state.vrings = Dictionary(uniqueKeysWithValues: setup.vrings.map { ($0.description.index, $0) })
      state.observer = setup.observer
    }
  }

  func close() throws -> [VringState] {
    try attempt()
    return state.withLock { state in
      Oracle.require(state.memory != nil, "a device is closed that is not configured")
      let positions = state.vrings.values.map(\.description.state)
      (state.memory, state.vrings, state.observer) = (nil, [:], nil)
      return positions
    }
  }

  func setVring(_ vring: DeviceSetup.Vring) throws {
    try attempt()
    state.withLock { state in
      guard let memory = state.memory else { return }
      check(vring, state.features, in: memory, reads: !state.isArriving)
      if let old = state.vrings[vring.description.index]?.description {
        let new = vring.description
        Oracle.require(
          (old.size, old.descriptor, old.avail, old.used) == (new.size, new.descriptor, new.avail, new.used),
          "vring \(new.index) moves while it runs")
      }
      state.vrings[vring.description.index] = vring
    }
  }

  func stopVring(_ index: Int) throws -> VringState {
    try attempt()
    return state.withLock { state in
      guard state.memory != nil, let vring = state.vrings.removeValue(forKey: index) else {
        Oracle.fail("vring \(index) is stopped, which does not run")
      }
      return vring.description.state
    }
  }

  func memoryChanged(from old: GuestMemory, to new: GuestMemory) throws {
    try attempt()
    state.withLock { state in
      guard let memory = state.memory else { Oracle.fail("memory changes under a device that is not configured") }
      Oracle.require(memory.regions == old.regions, "memory changes from what it was not")
      for vring in state.vrings.values { check(vring, state.features, in: new, reads: !state.isArriving) }
      state.memory = new
    }
  }

  /// Whether the rings are still in memory that can be read.
  func touch() {
    state.withLock { state in
      guard let memory = state.memory else { return }
      for vring in state.vrings.values { check(vring, state.features, in: memory, reads: !state.isArriving) }
    }
  }

  /// A ring whose index, size and place are the device's to rely on, with eventfds that cannot block it.
  private func check(_ vring: DeviceSetup.Vring, _ features: Features, in memory: GuestMemory, reads: Bool) {
    let description = vring.description
    let format = RingLayout.Format(for: features)
    Oracle.require((0..<vringCount).contains(description.index), "there is no vring \(description.index)")
    guard description.size <= maxRingSize, let layout = try? RingLayout(format, size: description.size) else {
      Oracle.fail("vring \(description.index) has \(description.size) descriptors")
    }
    for descriptor in [description.kick, description.call, description.error].compactMap(\.self) {
      Oracle.require(descriptor.isEventFD, "vring \(description.index) has \(descriptor.kernelName)")
    }
    if format == .packed {
      Oracle.require(
        Int(description.state.nextAvail & 0x7fff) < description.size, "a position that the ring does not have")
    }
    // Where a guest's IOMMU translates, a range may come later.
    guard !features.contains(.accessPlatform) else { return }
    var view = memory.addressMap.view
    for (address, length, alignment) in [
      (description.descriptor, layout.descriptorBytes, RingLayout.descriptorAlignment),
      (description.avail, layout.availBytes, format.availAlignment),
      (description.used, layout.usedBytes, format.usedAlignment),
    ] {
      Oracle.require(address % alignment == 0, "a part of vring \(description.index) is misaligned")
      guard unsafe view.contiguous(at: address, length: length, for: .readWrite) != nil,
        !reads || view.readUInt16(at: address + UInt64(length) - 2) != nil
      else { Oracle.fail("a part of vring \(description.index) is outside of guest memory") }
    }
  }
}
