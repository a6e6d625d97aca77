internal import VDPA
internal import Virtio

@testable internal import VhostUser

/// A message of the script: what a correct front-end sends, unless the record says what is wrong with it.
///
/// `kind` is the request, `a` says what is wrong, `b` names a ring or a region, `c` the kind of descriptor and, where that
/// is wrong, their number; `d` and `e` are values.
struct ScriptedMessage {
  struct Flaws: OptionSet {
    let rawValue: UInt8
    /// No flaw: an answer is wanted.
    static let needReply = Flaws(rawValue: 1)
    /// The header's flags are `e`.
    static let headerFlags = Flaws(rawValue: 2)
    /// The payload has `d` bytes, up to 511.
    static let size = Flaws(rawValue: 4)
    /// The payload's byte `d` is changed by `e`.
    static let byte = Flaws(rawValue: 8)
    /// So many descriptors as the upper half of `c` says.
    static let count = Flaws(rawValue: 16)
    /// No flaw: it is sent in two pieces.
    static let pieces = Flaws(rawValue: 32)
  }

  let number: UInt32
  let flaws: Flaws
  private let record: Record

  init(_ record: Record) {
    self.record = record
    // One more than there are: numbers that nobody knows.
    let number = UInt32(record.kind & 0x7f) % UInt32(FrontendRequest.allCases.count + 1)
    self.number = number == 0 ? UInt32(record.e) << 16 | UInt32(record.d) : number
    flaws = Flaws(rawValue: record.a)
  }

  var request: FrontendRequest? { FrontendRequest(rawValue: number) }
  var rule: RequestRule? { request.flatMap { RequestRule.table[$0] } }
  private var headerFlags: UInt32 {
    flaws.contains(.headerFlags) ? UInt32(record.e) : flaws.contains(.needReply) ? 9 : 1
  }
  var needsReply: Bool { headerFlags & 8 != 0 }

  /// Whether it can be told to be a message at all.
  var isLegible: Bool { headerFlags & ~8 == 1 && descriptorCount <= MessageParser.maximumDescriptors }

  private var descriptorCount: Int {
    if flaws.contains(.count) { return Int(record.c >> 4) }
    guard let rule else { return 0 }
    switch rule.request {
    case .setVringKick, .setVringCall, .setVringError: return hasVringFile ? 1 : 0
    case .setMemoryTable: return regions.count
    case .addMemoryRegion: return isEndOfRegions ? 0 : 1
    default: return rule.descriptors.lowerBound
    }
  }

  func descriptors(from files: FrontEndFiles) -> [OwnedFD] {
    let kind = FrontEndFiles.Kind(rawValue: record.c & 15) ?? .right
    return (0..<descriptorCount).map { _ in files.make(kind, for: request, loads: record.d & 1 == 1) }
  }

  /// Header and payload.
  func bytes(offering offer: SessionOffer) -> [UInt8] {
    var payload = payload(offer)
    if flaws.contains(.size) {
      let size = Int(record.d & 0x1ff)
      payload = Array(payload.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - payload.count))
    }
    if flaws.contains(.byte), !payload.isEmpty { payload[Int(record.d) % payload.count] ^= UInt8(record.e & 0xff) }
    var writer = WireWriter()
    writer.append(number)
    writer.append(headerFlags)
    writer.append(UInt32(payload.count))
    return writer.bytes + payload
  }

  // MARK: Values

  private var ring: UInt32 { record.b < 0xf0 ? UInt32(record.b & 3) : UInt32(record.b) << 12 | UInt32(record.b & 7) }
  private var hasVringFile: Bool { record.d & 1 == 0 }
  private var isEndOfRegions: Bool { record.d & 0x8000 != 0 }
  /// Bit 4 of `d`: not all of memory, but the quarters of bits 0 to 3.
  private var regions: [MemoryRegionPayload] {
    guard record.d & 16 != 0 else { return [FrontEndMemory.region(nil)] }
    return (0..<4).filter { record.d >> UInt16($0) & 1 == 1 }.map { FrontEndMemory.region($0) }
  }
  private var region: MemoryRegionPayload {
    FrontEndMemory.region(record.d & 16 != 0 ? Int(record.b & 3) : nil)
  }

  private static let sizes: [UInt32] = [64, 256, 8, 1, 0, 65, 512, 32768]
  private static let features: [Features] = [
    [.version1, .netMergeableBuffers, .protocolFeatures], [.version1, .protocolFeatures, .packedRing],
    [.version1, .protocolFeatures, .logAll], [.version1, .protocolFeatures, .accessPlatform], [.version1],
    [.version1, .protocolFeatures, .packedRing, .accessPlatform, .logAll],
  ]

  private func payload(_ offer: SessionOffer) -> [UInt8] {
    func u64(_ value: UInt64) -> [UInt8] {
      var writer = WireWriter()
      writer.append(value)
      return writer.bytes
    }
    func state(_ number: UInt32) -> [UInt8] { VringStatePayload(index: ring, number: number).encoded }
    let (d, e) = (record.d, record.e)
    switch request {
    case .setFeatures:
      let wanted = ScriptedMessage.features[Int(d) % ScriptedMessage.features.count]
      return u64(wanted.intersection(offer.wireFeatures).rawValue)
    case .setProtocolFeatures:
      // Two may be left out.
      func bit(_ number: UInt16) -> UInt64 { number == 0 ? 0 : 1 << UInt64((number - 1) & 31) }
      return u64(offer.protocolFeatures.rawValue & ~bit(d) & ~bit(e))
    case .setMemoryTable: return MemoryTablePayload(regions: regions).encoded
    case .addMemoryRegion where isEndOfRegions: return u64(0)
    case .addMemoryRegion, .removeMemoryRegion: return SingleRegionPayload(region: region).encoded
    case .setLogBase: return FrontEndMemory.log.encoded
    case .setVringNum: return state(ScriptedMessage.sizes[Int(d & 7)])
    case .setVringAddress:
      var addresses = FrontEndMemory.ring(Int(ring & 3), byGuest: d & 1 == 1)
      addresses.index = ring
      addresses.logsUsedRing = d & 2 != 0
      if d & 4 != 0 { addresses.used += UInt64(e) }
      return addresses.encoded
    case .setVringBase: return state(UInt32(d) | UInt32(e) << 16)
    case .setVringEnable, .setVringEndian: return state(UInt32(d & 3))
    case .getVringBase, .getVringBaseSkipDrain, .vringKick: return state(0)
    case .setVringKick, .setVringCall, .setVringError:
      return VringFilePayload(index: ring, hasDescriptor: hasVringFile).encoded
    case .sendRARP: return [0x52, 0x54, 0, 1, 2, record.b, 0, 0]
    case .netSetMTU: return u64(d == 0 ? 1500 : UInt64(d))
    case .iotlbMessage:
      let kinds: [IOTLBPayload.Kind] = [.update, .invalidate, .miss, .accessFailure]
      // Bits 4 up of `d`: how much of memory.
      let size = d >> 4 == 0 ? FrontEndMemory.size : UInt64(d >> 4) << 4
      return IOTLBPayload(
        kinds[Int(d & 3)], address: FrontEndMemory.guestBase + UInt64(e), size: size,
        userAddress: FrontEndMemory.userBase, access: d & 4 != 0 ? .read : .readWrite
      ).encoded
    case .getConfiguration, .setConfiguration:
      return ConfigurationPayload(
        offset: UInt32(d & 0xff), bytes: [UInt8](repeating: record.b, count: Int(e & 0xff)),
        restoresMigration: d & 0x100 != 0
      ).encoded
    case .getInflightFD: return InflightPayload(queues: d == 0 ? 4 : d, queueSize: e == 0 ? 64 : e).encoded
    case .setInflightFD:
      var record = FrontEndMemory.inflight
      if d != 0 { record.queues = d }
      if e != 0 { record.queueSize = e }
      return record.encoded
    case .setStatus: return u64(d == 0 ? 0x0f : UInt64(d & 0x1ff))
    case .getSharedObject: return [UInt8](repeating: UInt8(d & 0xff), count: SharedObjectPayload.byteCount)
    case .setDeviceStateFD: return DeviceStatePayload(d & 1 == 1 ? .load : .save).encoded
    default: return []
    }
  }
}
