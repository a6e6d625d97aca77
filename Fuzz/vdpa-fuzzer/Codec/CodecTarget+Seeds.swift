internal import VDPA
internal import VhostUser
internal import Virtio

extension CodecTarget {
  /// A message of every request in either direction, with what it has to have; the same in pieces; answers; and for each
  /// rule of the header a message that breaks it.
  static var seeds: [FuzzInput] {
    let requests = RequestRule.table.values.sorted { $0.request.rawValue < $1.request.rawValue }
    var seeds = requests.map { rule in
      seed(rule.request.rawValue, payload(of: rule), descriptors: rule.descriptors.lowerBound)
    }
    for rule in requests where rule.descriptors.upperBound > rule.descriptors.lowerBound {
      seeds.append(seed(rule.request.rawValue, payload(of: rule), descriptors: 1))
    }
    for rule in BackendRule.table.values.sorted(by: { $0.request.rawValue < $1.request.rawValue }) {
      for descriptors in rule.descriptors {
        seeds.append(
          seed(rule.request.rawValue, backendPayload(of: rule), descriptors: descriptors, direction: 1, cut: 5))
      }
    }
    let regions = (0..<2).map { i in
      MemoryRegionPayload(guestAddress: i << 32, size: 0x1000, userAddress: i << 40, mapOffset: 0)
    }
    let request = FrontendRequest.setMemoryTable.rawValue
    seeds.append(seed(request, MemoryTablePayload(regions: regions).encoded, descriptors: 2, cut: 3))
    seeds.append(seed(request, [UInt8](repeating: 0, count: 8), direction: 2))
    for (flags, size) in [(UInt32(0), UInt32(0)), (2, 0), (5, 0), (17, 0), (1, 4097)] {
      var writer = WireWriter()
      for word in [UInt32(1), flags, size] { writer.append(word) }
      seeds.append(input(writer.bytes))
    }
    return seeds
  }

  private static func seed(
    _ request: UInt32, _ payload: [UInt8], descriptors: Int = 0, direction: UInt8 = 0, cut: UInt16 = 0
  ) -> FuzzInput {
    let header = MessageHeader(request: request, flags: direction == 2 ? .reply : .needReply, size: payload.count)
    var input = input(header.encoded + payload)
    (input.layout, input.position, input.lag) = (direction, cut, UInt16(descriptors))
    return input
  }

  private static func input(_ bytes: [UInt8]) -> FuzzInput {
    let padding = (Record.size - bytes.count % Record.size) % Record.size
    let padded = bytes + [UInt8](repeating: 0, count: padding)
    var input = FuzzInput()
    input.size = UInt8(padding)
    input.records = stride(from: 0, to: padded.count, by: Record.size).map { Record(padded.span, at: $0) }
    return input
  }

  private static func payload(of rule: RequestRule) -> [UInt8] {
    let region = MemoryRegionPayload(guestAddress: 0, size: 0x1000, userAddress: 1 << 40, mapOffset: 0)
    switch rule.request {
    case .setMemoryTable: return MemoryTablePayload(regions: []).encoded
    case .addMemoryRegion, .removeMemoryRegion: return SingleRegionPayload(region: region).encoded
    case .setLogBase: return LogPayload(size: 0x1000, offset: 0).encoded
    case .iotlbMessage: return IOTLBPayload(.update, address: 0, size: 0x1000, access: .readWrite).encoded
    case .getConfiguration, .setConfiguration: return ConfigurationPayload(offset: 4, bytes: [1, 2, 3, 4]).encoded
    case .netSetMTU: return [0xdc, 5, 0, 0, 0, 0, 0, 0]
    case .setVringKick, .setVringCall, .setVringError:
      return VringFilePayload(index: 1, hasDescriptor: false).encoded
    default:
      guard case .exactly(let count) = rule.payload else { return [] }
      return [UInt8](repeating: 0, count: count)
    }
  }

  private static func backendPayload(of rule: BackendRule) -> [UInt8] {
    switch rule.request {
    case .iotlbMessage: IOTLBPayload(.miss, address: 0x1000, size: 1, access: .read).encoded
    case .vringHostNotifier: VringAreaPayload(index: 1, hasDescriptor: true, size: 0x1000, offset: 0).encoded
    case .sharedMemoryMap, .sharedMemoryUnmap:
      SharedMapPayload(region: 1, fileOffset: 0, offset: 0, size: 0x1000, isWritable: true).encoded
    default: [UInt8](repeating: 0, count: rule.payload)
    }
  }
}
