public import VDPA
public import Virtio

/// The front-end's end of the protocol: negotiates with a back-end, shares memory with it, starts and stops vrings
/// (vhost-user, Front-end message types).
///
/// It knows what was agreed upon and what is shared, and nothing of what is in the rings: ``FrontendGuest`` drives those.
/// Where REPLY_ACK was negotiated, each message is acknowledged before the call returns, and a refusal is an error; else a
/// back-end that refuses closes the connection, which the next call with a reply sees. For one thread.
public final class Frontend {
  /// The protocol features that a front-end here can make use of.
  public static let usableProtocolFeatures: ProtocolFeatures = [
    .multiqueue, .replyAck, .configuration, .inflightSharedMemory, .resetDevice, .memorySlots, .status,
  ]

  /// The messages go over it.
  public let connection: FrontendConnection
  /// What the back-end offers, the bits of the protocol included; empty before ``negotiate(_:required:protocolFeatures:)``.
  public private(set) var offeredFeatures: Features = []
  /// What was accepted, without the bits of the protocol.
  public private(set) var features: Features = []
  /// The protocol features that both sides have.
  public private(set) var protocolFeatures: ProtocolFeatures = []
  /// How many queues the back-end has, pairs for net; 1 where it cannot be asked (`MQ`).
  public private(set) var queueCount = 1
  /// How many memory regions it takes.
  public private(set) var maximumRegions = MemoryTablePayload.maximumRegions
  /// What is shared.
  public private(set) var regions: [SharedRegion] = []
  /// The sizes of the rings that were started.
  private var sizes: [Int: Int] = [:]

  /// A front-end on a fresh connection.
  public init(_ connection: FrontendConnection) { self.connection = connection }

  // MARK: Negotiation

  /// Settles features, protocol features and the number of queues, and takes ownership (vhost-user, GET_FEATURES to
  /// GET_QUEUE_NUM).
  ///
  /// - Parameters:
  ///   - wanted: What is accepted if it is offered.
  ///   - required: What has to be offered.
  ///   - protocolFeatures: What is accepted of them if it is offered.
  /// - Throws: ``VhostUserError`` `notNegotiated`, naming the bits that are required and not offered; or as every request:
  ///   `disconnected`, `timedOut`, `refused`, `backendFault`, `system`.
  public func negotiate(
    _ wanted: Features = [], required: Features = .version1,
    protocolFeatures usable: ProtocolFeatures = Frontend.usableProtocolFeatures
  ) throws(VhostUserError) {
    offeredFeatures = Features(rawValue: try connection.askValue(.getFeatures))
    let missing = required.subtracting(offeredFeatures)
    guard missing.isEmpty else {
      throw VhostUserError(.notNegotiated, "the back-end does not offer feature bits \(missing.bits)")
        .with(request: FrontendRequest.getFeatures.description).with(socket: connection.name)
    }
    try tell(.setOwner)
    let hasProtocol = offeredFeatures.contains(.protocolFeatures)
    if hasProtocol {
      let offered = ProtocolFeatures(rawValue: try connection.askValue(.getProtocolFeatures))
      let accepted = offered.intersection(usable)
      try tell(.setProtocolFeatures, number(accepted.rawValue))
      protocolFeatures = accepted
      if accepted.contains(.multiqueue) { queueCount = try count(.getQueueNum, 1...256) }
      if accepted.contains(.memorySlots) { maximumRegions = try count(.getMaximumMemorySlots, 1...65536) }
    }
    features = offeredFeatures.intersection(wanted.union(required)).subtracting(.protocolFeatures)
    try tell(.setFeatures, number(features.union(hasProtocol ? .protocolFeatures : []).rawValue))
  }

  /// Asks for a number that has to be in a range.
  private func count(_ request: FrontendRequest, _ legal: ClosedRange<UInt64>) throws(VhostUserError) -> Int {
    let value = try connection.askValue(request)
    guard legal.contains(value) else {
      throw VhostUserError(
        .backendFault, "the back-end answered \(value), not \(legal.lowerBound) to \(legal.upperBound)"
      ).with(request: request.description).with(socket: connection.name)
    }
    return Int(value)
  }

  // MARK: Memory

  /// Shares more memory (vhost-user, ADD_MEM_REG, or SET_MEM_TABLE with all that is shared).
  ///
  /// - Parameter more: Regions that overlap neither each other nor what is shared.
  /// - Throws: ``VhostUserError`` `badMemory`, when there would be more regions than the back-end takes; or as every request.
  public func share(_ more: [SharedRegion]) throws(VhostUserError) {
    guard regions.count + more.count <= maximumRegions else {
      throw VhostUserError(
        .badMemory, "\(regions.count + more.count) memory regions, of which the back-end takes \(maximumRegions)"
      ).with(socket: connection.name)
    }
    if protocolFeatures.contains(.memorySlots) {
      for region in more {
        try tell(.addMemoryRegion, SingleRegionPayload(region: region.payload).encoded, [region.file])
        regions.append(region)
      }
    } else {
      try setTable(regions + more)
    }
  }

  /// Takes a region back (vhost-user, REM_MEM_REG, or SET_MEM_TABLE without it): afterwards the back-end no longer uses it.
  ///
  /// - Parameter region: One that is shared; any other changes nothing.
  public func unshare(_ region: MemoryRegion) throws(VhostUserError) {
    guard let index = regions.firstIndex(where: { $0.region == region }) else { return }
    var rest = regions
    let gone = rest.remove(at: index)
    if protocolFeatures.contains(.memorySlots) {
      try tell(.removeMemoryRegion, SingleRegionPayload(region: gone.payload).encoded)
      regions = rest
    } else {
      try setTable(rest)
    }
  }

  private func setTable(_ table: [SharedRegion]) throws(VhostUserError) {
    try tell(.setMemoryTable, MemoryTablePayload(regions: table.map(\.payload)).encoded, table.map(\.file))
    regions = table
  }

  /// The address by which the front-end itself knows guest memory, as SET_VRING_ADDR wants it.
  private func userAddress(of guest: UInt64, ring: Int) throws(VhostUserError) -> UInt64 {
    for item in regions where guest >= item.region.guestAddress && guest < item.region.guestEnd {
      return item.region.userAddress + (guest - item.region.guestAddress)
    }
    throw VhostUserError(.badMemory, "the address 0x\(String(guest, radix: 16)) is not in memory that is shared")
      .with(request: FrontendRequest.setVringAddress.description).with(ring: ring).with(socket: connection.name)
  }

  // MARK: Vrings

  /// Starts a vring (vhost-user, SET_VRING_NUM, BASE, ADDR, CALL, ERR, KICK, ENABLE).
  ///
  /// - Parameters:
  ///   - vring: Its addresses are guest addresses in memory that is shared.
  ///   - isEnabled: Whether it is enabled as well.
  /// - Throws: ``VhostUserError`` `badMemory`, when the vring is not in memory that is shared; or as every request.
  public func start(_ vring: VringDescription, isEnabled: Bool = true) throws(VhostUserError) {
    let index = UInt32(vring.index)
    let addresses = VringAddressPayload(
      index: index, descriptor: try userAddress(of: vring.descriptor, ring: vring.index),
      used: try userAddress(of: vring.used, ring: vring.index),
      available: try userAddress(of: vring.avail, ring: vring.index))
    let base = vring.state.base(in: RingLayout.Format(for: features))
    try tell(.setVringNum, VringStatePayload(index: index, number: UInt32(vring.size)).encoded)
    try tell(.setVringBase, VringStatePayload(index: index, number: base).encoded)
    try tell(.setVringAddress, addresses.encoded)
    try setFile(.setVringCall, index, vring.call)
    try setFile(.setVringError, index, vring.error)
    try setFile(.setVringKick, index, vring.kick)
    sizes[vring.index] = vring.size
    if offeredFeatures.contains(.protocolFeatures) { try setEnabled(isEnabled, vring: vring.index) }
  }

  private func setFile(_ request: FrontendRequest, _ index: UInt32, _ file: OwnedFD?) throws(VhostUserError) {
    let payload = VringFilePayload(index: index, hasDescriptor: file != nil).encoded
    try tell(request, payload, file.map { [$0] } ?? [])
  }

  /// Enables or disables a vring, which stops nothing (vhost-user, SET_VRING_ENABLE).
  public func setEnabled(_ enabled: Bool, vring index: Int) throws(VhostUserError) {
    try tell(.setVringEnable, VringStatePayload(index: UInt32(index), number: enabled ? 1 : 0).encoded)
  }

  /// Stops a vring (vhost-user, GET_VRING_BASE): afterwards the back-end neither reads nor writes it.
  ///
  /// - Returns: Where it stands.
  /// - Throws: ``VhostUserError`` `backendFault`, when that is a position that the ring does not have; or as every request.
  public func stop(vring index: Int) throws(VhostUserError) -> VringState {
    let request = FrontendRequest.getVringBase
    let reply = try connection.ask(request, VringStatePayload(index: UInt32(index)).encoded)
    let payload = try connection.decode(reply, to: request) { (reader) throws(VhostUserError) in
      try VringStatePayload(from: &reader)
    }
    func refuse(_ why: String) -> VhostUserError {
      VhostUserError(.backendFault, why).with(request: request.description).with(ring: index)
        .with(socket: connection.name)
    }
    guard payload.index == UInt32(index) else { throw refuse("the position of vring \(payload.index) was answered") }
    let layout: RingLayout
    do throws(VirtioError) {
      layout = try RingLayout(RingLayout.Format(for: features), size: sizes[index] ?? RingLayout.maxSize)
    } catch {
      throw refuse("\(error)")
    }
    guard let state = VringState(index: index, base: payload.number, layout: layout) else {
      throw refuse("0x\(String(payload.number, radix: 16)) is no position in a ring of \(layout.size) descriptors")
    }
    return state
  }

  // MARK: What is in flight

  /// Has the back-end make a record of what it has in flight, which outlives it (vhost-user, GET_INFLIGHT_FD).
  ///
  /// - Parameters:
  ///   - vringCount: For how many vrings.
  ///   - ringSize: The descriptors of each.
  /// - Throws: ``VhostUserError`` `notNegotiated`, without `INFLIGHT_SHMFD`; or as every request.
  public func makeInflight(vringCount: Int, ringSize: Int) throws(VhostUserError) -> FrontendInflight {
    let request = FrontendRequest.getInflightFD
    try require(.inflightSharedMemory, for: request)
    let wanted = InflightPayload(queues: UInt16(vringCount), queueSize: UInt16(ringSize))
    let reply = try connection.ask(request, wanted.encoded, replyDescriptors: 1...1)
    let payload = try connection.decode(reply, to: request) { (reader) throws(VhostUserError) in
      let payload = try InflightPayload(from: &reader)
      guard payload.size > 0 else { throw VhostUserError(.malformed, "a record without a byte") }
      return payload
    }
    return FrontendInflight(payload: payload, file: reply.descriptors[0])
  }

  /// Gives the back-end a record that it, or another one before it, has made; before vrings are started (vhost-user,
  /// SET_INFLIGHT_FD).
  ///
  /// - Throws: ``VhostUserError`` `notNegotiated`, without `INFLIGHT_SHMFD`; or as every request.
  public func setInflight(_ record: FrontendInflight) throws(VhostUserError) {
    try require(.inflightSharedMemory, for: .setInflightFD)
    try tell(.setInflightFD, record.payload.encoded, [record.file])
  }

  // MARK: The device

  /// Tells the device how far its driver has come, where it can be told (vhost-user, SET_STATUS); else does nothing.
  ///
  /// - Throws: ``VhostUserError`` `refused`, when the device does not agree to the features (virtio 1.2, §3.1.1); or as every
  ///   request.
  public func setStatus(_ status: DeviceStatus) throws(VhostUserError) {
    guard protocolFeatures.contains(.status) else { return }
    try tell(.setStatus, number(UInt64(status.rawValue)))
    guard status.contains(.featuresOK), try !self.status().contains(.featuresOK) else { return }
    throw VhostUserError(.refused, "the device does not agree to feature bits \(features.bits)")
      .with(request: FrontendRequest.setStatus.description).with(socket: connection.name)
  }

  /// The device status (vhost-user, GET_STATUS).
  ///
  /// - Throws: ``VhostUserError`` `notNegotiated`, without `STATUS`; or as every request.
  public func status() throws(VhostUserError) -> DeviceStatus {
    try require(.status, for: .getStatus)
    return DeviceStatus(rawValue: UInt8(try count(.getStatus, 0...255)))
  }

  /// Reads the configuration space (vhost-user, GET_CONFIG).
  ///
  /// - Parameters:
  ///   - offset: Where to begin, in bytes.
  ///   - count: How many bytes; with the offset 256 at most.
  /// - Throws: ``VhostUserError`` `notNegotiated`, without `CONFIG`; `refused`; or as every request.
  public func readConfiguration(at offset: Int = 0, count: Int) throws(VhostUserError) -> [UInt8] {
    let request = FrontendRequest.getConfiguration
    try require(.configuration, for: request)
    let wanted = try piece(offset, Array(repeating: 0, count: max(count, 0)))
    let reply = try connection.ask(request, wanted.encoded)
    guard !reply.payload.isEmpty else {
      throw VhostUserError(.refused, "the back-end does not give these bytes of its configuration")
        .with(request: request.description).with(socket: connection.name)
    }
    let answer = try connection.decode(reply, to: request) { (reader) throws(VhostUserError) in
      try ConfigurationPayload(from: &reader)
    }
    guard answer.offset == wanted.offset, answer.bytes.count == count else {
      throw VhostUserError(
        .backendFault, "\(answer.bytes.count) bytes at \(answer.offset) were answered, not \(count) at \(offset)"
      ).with(request: request.description).with(socket: connection.name)
    }
    return answer.bytes
  }

  /// Writes the configuration space as the guest's driver does (vhost-user, SET_CONFIG).
  ///
  /// - Parameters:
  ///   - bytes: What to write; with the offset 256 bytes at most.
  ///   - offset: Where to begin, in bytes.
  public func writeConfiguration(_ bytes: [UInt8], at offset: Int) throws(VhostUserError) {
    try require(.configuration, for: .setConfiguration)
    try tell(.setConfiguration, try piece(offset, bytes).encoded)
  }

  private func piece(_ offset: Int, _ bytes: [UInt8]) throws(VhostUserError) -> ConfigurationPayload {
    let limit = ConfigurationPayload.maximumSize
    guard bytes.count <= limit, (0...limit - bytes.count).contains(offset) else {
      throw VhostUserError(.malformed, "\(bytes.count) bytes at \(offset) are not in a configuration space")
    }
    return ConfigurationPayload(offset: UInt32(offset), bytes: bytes)
  }

  /// Resets the device (vhost-user, RESET_DEVICE, or else SET_STATUS 0): vrings have to be set up anew.
  ///
  /// - Throws: ``VhostUserError`` `notNegotiated`, when the back-end has neither; or as every request.
  public func reset() throws(VhostUserError) {
    if protocolFeatures.contains(.resetDevice) { return try tell(.resetDevice) }
    try require(.status, for: .resetDevice)
    try setStatus([])
  }

  /// Waits until all that was sent before has been taken in.
  public func synchronize() throws(VhostUserError) { _ = try connection.askValue(.getFeatures) }

  // MARK: Messages

  private func tell(
    _ request: FrontendRequest, _ payload: [UInt8] = [], _ descriptors: [OwnedFD] = []
  ) throws(VhostUserError) {
    try connection.tell(
      request, payload, descriptors: descriptors, isAcknowledged: protocolFeatures.contains(.replyAck))
  }

  private func require(_ feature: ProtocolFeatures, for request: FrontendRequest) throws(VhostUserError) {
    guard protocolFeatures.isSuperset(of: feature) else {
      throw VhostUserError(.notNegotiated, "the back-end does not have \(feature)").with(request: request.description)
        .with(socket: connection.name)
    }
  }

  private func number(_ value: UInt64) -> [UInt8] {
    var writer = WireWriter()
    writer.append(value)
    return writer.bytes
  }
}
