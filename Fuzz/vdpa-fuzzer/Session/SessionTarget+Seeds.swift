internal import VhostUser
internal import Virtio

extension SessionTarget {
  /// QEMU's order for a net device, split and packed, with IO virtual addresses and with none of the protocol's features; and
  /// in a running session each request, right and refused by the device, memory and features that change, the ends that
  /// there are.
  static var seeds: [FuzzInput] {
    var seeds: [FuzzInput] = []
    for layout in UInt8(0)...7 { seeds.append(input(running() + stop(), layout: layout)) }
    seeds.append(input(running(features: 1) + stop()))
    seeds.append(input(running(features: 3) + stop()))
    seeds.append(input(running(features: 5) + stop()))
    // A memory table instead of slots, and without bit 30 rings that are enabled from the start.
    seeds.append(
      input(
        [message(.setOwner), message(.setFeatures, d: 4), message(.setMemoryTable)] + rings(0..<2, byGuest: false)
          + stop(0..<2)))
    for request in FrontendRequest.allCases {
      let one = message(request, a: 1)
      seeds.append(input(negotiation() + [one, one]))
      seeds.append(input(running() + [one, one] + stop()))
      seeds.append(input(running() + [action(1), one, one] + stop() + [one]))
    }
    // Descriptors of every wrong kind, the other end of some of them closed.
    let carriers = RequestRule.table.values.filter { $0.descriptors.upperBound > 0 }.map(\.request)
    for request in carriers.sorted(by: { $0.rawValue < $1.rawValue }) {
      for kind in FrontEndFiles.Kind.allCases {
        let one = message(request, a: 1, c: kind.rawValue)
        seeds.append(input(negotiation() + [one, action(4), one] + memory() + rings(0..<2) + [one]))
      }
    }
    // Stopped, and started again; reset; memory in quarters that come and go; the back-channel is there first.
    seeds.append(input(running() + stop() + rings(0..<4) + stop()))
    seeds.append(input(running() + [message(.resetDevice, a: 1)] + rings(0..<4) + stop()))
    let quarters = (UInt8(0)..<4).flatMap { i in
      [message(.addMemoryRegion, a: 1, b: i, d: 16), message(.removeMemoryRegion, a: 1, b: i, d: 16)]
    }
    seeds.append(input(negotiation() + quarters + quarters))
    seeds.append(
      input(negotiation(without: 16) + [message(.setMemoryTable, a: 1, d: 31), message(.setMemoryTable, a: 1, d: 19)]))
    for report in UInt8(0)..<5 {
      seeds.append(
        input(
          negotiation() + [message(.setBackendRequestFD, a: 1)] + memory() + rings(0..<4)
            + [action(3), action(0, a: report), action(3), action(6)] + stop()))
    }
    // The device's own state, out and in; the reader of it has gone.
    let save = message(.setDeviceStateFD)
    let check = message(.checkDeviceState)
    seeds.append(input(negotiation() + [save, check, message(.setDeviceStateFD, d: 1), check, check]))
    seeds.append(input(negotiation() + [action(4), save, action(4), check]))
    // Migration: a log before and while rings run, pages that come later, requests in flight.
    let log = [message(.setLogBase), message(.setLogFD, a: 1), message(.setFeatures, a: 1, d: 2)]
    let logged = (UInt8(0)..<4).map { message(.setVringAddress, a: 1, b: $0, d: 3) }
    seeds.append(input(negotiation() + log + memory() + rings(0..<4) + logged + stop()))
    seeds.append(input(running() + log + logged + stop() + [message(.sendRARP, a: 1)]))
    let postcopy = [message(.postcopyAdvise), message(.postcopyListen, a: 1)]
    seeds.append(
      input(
        negotiation() + postcopy + memory() + [message(.addMemoryRegion, d: 0x8000)] + rings(0..<4)
          + [message(.postcopyEnd)] + stop()))
    seeds.append(
      input(negotiation(without: 16) + postcopy + [message(.setMemoryTable)] + rings(0..<4) + [message(.postcopyEnd)]))
    seeds.append(
      input(
        negotiation() + [message(.getInflightFD), message(.setInflightFD, a: 1)] + memory() + rings(0..<4)
          + [message(.getVringBaseSkipDrain, b: 1)] + stop()))
    // A guest's IOMMU: translations before and behind the rings.
    let update = message(.iotlbMessage, d: 0)
    let invalidate = message(.iotlbMessage, d: 1)
    seeds.append(
      input(
        negotiation(features: 3) + [message(.setBackendRequestFD, a: 1), update] + memory() + rings(0..<4)
          + [action(6), invalidate, action(3), update, action(6)] + stop()))
    seeds.append(input(running() + [action(5)]))
    seeds.append(input(running() + [action(2)]))
    return seeds
  }

  // MARK: Pieces

  private static func input(_ records: [Record], layout: UInt8 = 0) -> FuzzInput {
    var input = FuzzInput()
    (input.layout, input.records) = (layout, records)
    return input
  }

  private static func message(
    _ request: FrontendRequest, a: UInt8 = 0, b: UInt8 = 0, c: UInt8 = 0, d: UInt16 = 0, e: UInt16 = 0
  ) -> Record {
    Record(kind: UInt8(request.rawValue), a: a, b: b, c: c, d: d, e: e)
  }

  private static func action(_ number: UInt8, a: UInt8 = 0) -> Record { Record(kind: Record.walker | number, a: a) }

  /// - Parameter bit: A protocol feature that is not taken, counted from 1; 0 for none.
  private static func negotiation(features: UInt16 = 0, without bit: UInt16 = 0) -> [Record] {
    [
      message(.getFeatures), message(.getProtocolFeatures), message(.setProtocolFeatures, d: bit), message(.setOwner),
      message(.setFeatures, d: features),
    ]
  }

  private static func memory() -> [Record] { [message(.addMemoryRegion, a: 1)] }

  private static func rings(_ range: Range<UInt8>, byGuest: Bool = true) -> [Record] {
    range.flatMap { i in
      [
        message(.setVringNum, b: i), message(.setVringBase, b: i), message(.setVringAddress, b: i, d: byGuest ? 1 : 0),
        message(.setVringCall, b: i), message(.setVringError, b: i), message(.setVringKick, b: i),
        message(.setVringEnable, b: i, d: 1),
      ]
    } + [message(.setStatus), message(.getStatus)]
  }

  /// GPA_ADDRESSES is negotiated with all others, so rings are named by the guest's addresses.
  private static func running(features: UInt16 = 0) -> [Record] {
    negotiation(features: features) + memory() + rings(0..<4)
  }

  private static func stop(_ range: Range<UInt8> = 0..<4) -> [Record] {
    range.map { message(.getVringBase, b: $0) }
  }
}
