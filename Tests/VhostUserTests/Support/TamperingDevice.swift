import VDPA
import VhostUser
import Virtio

/// A device on the rings of a guest in this thread, without a socket between: gives every packet back and does one thing
/// wrong. The negative control of numbered traffic.
final class TamperingDevice {
  /// What happens to packet number ``place`` of pair 0.
  enum Tampering: String, CaseIterable, Sendable {
    case nothing
    /// Its last bit changes.
    case bit
    /// Its number changes.
    case number
    /// Its last byte is missing.
    case short
    case loss
    case repetition
    /// It changes places with the next one.
    case swap
    /// It comes on the next pair.
    case otherPair
  }

  /// Counted from 0.
  static let place = 333

  private let guest: FrontendGuest
  private let tampering: Tampering
  private var rings: [DeviceRing] = []
  private var count = 0
  private let packet = PacketBurst()
  private let held = PacketBurst()
  private let headerLength: Int

  init(_ guest: FrontendGuest, _ tampering: Tampering) throws {
    self.guest = guest
    self.tampering = tampering
    headerLength = NetHeader.length(for: guest.features)
    for vring in guest.vrings {
      let memory = try RingMemory(
        vring.layout, descriptor: vring.descriptor, avail: vring.avail, used: vring.used, memory: view)
      let start = vring.description.state
      rings.append(
        DeviceRing(memory, features: guest.features, nextAvail: start.nextAvail, nextUsed: start.nextUsed))
    }
  }

  private var view: MemoryView { guest.memory.memory.addressMap.view }

  /// Serves what is there, while there is room for what it gives back.
  func serve() {
    for pair in 0..<rings.count / 2 {
      while rings[2 * pair].pending() > 2, take(pair) {
        defer { if pair == 0 { count += 1 } }
        guard pair == 0, count == TamperingDevice.place else {
          give(packet, pair)
          if pair == 0, count == TamperingDevice.place + 1, tampering == .swap { give(held, 0) }
          continue
        }
        switch tampering {
        case .nothing: give(packet, 0)
        case .bit, .number:
          packet.withPayload(0, headerLength: headerLength) { $0[tampering == .bit ? $0.count - 1 : 16] ^= 1 }
          give(packet, 0)
        case .short:
          packet.truncate(0, to: packet.payloadLength(of: 0) - 1)
          give(packet, 0)
        case .loss: break
        case .repetition:
          give(packet, 0)
          give(packet, 0)
        case .swap:
          held.clear()
          _ = held.append(copyOf: 0, from: packet)
        case .otherPair: give(packet, 1)
        }
      }
    }
  }

  private func take(_ pair: Int) -> Bool {
    packet.clear()
    let taken = rings[2 * pair + 1].dequeueBurst(into: packet, limit: 1, memory: view, headerLength: headerLength)
    if taken == 1 { rings[2 * pair + 1].complete(packet, first: 0, count: 1) }
    return taken == 1
  }

  private func give(_ burst: PacketBurst, _ pair: Int) {
    burst.rearm()
    _ = rings[2 * pair].enqueueBurst(
      from: burst, first: 0, memory: view, headerLength: headerLength,
      mergeable: guest.features.contains(.netMergeableBuffers))
  }
}
