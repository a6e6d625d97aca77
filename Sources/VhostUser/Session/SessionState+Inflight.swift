import SystemPackage
import VDPA
import Virtio

/// The record of the requests in flight, which the front-end keeps for the back-end that comes after this one (vhost-user,
/// Inflight I/O tracking).
extension SessionState {
  /// Makes an empty record for the front-end. It is used when it comes back in SET_INFLIGHT_FD, not before.
  func makeInflightRecord(_ payload: InflightPayload) throws(VhostUserError) -> SessionAction {
    let layout = try inflightLayout(payload)
    do throws(Errno) {
      return .inflightRecord(
        InflightPayload(size: UInt64(layout.bytes), queues: payload.queues, queueSize: payload.queueSize),
        try MemoryFile.make("vdpa-inflight", size: layout.bytes))
    } catch {
      throw VhostUserError(
        .system, "an in-flight record of \(layout.bytes) bytes cannot be made", errno: error)
    }
  }

  /// Takes a record over, for the rings that are started from now on.
  mutating func setInflightRecord(_ payload: InflightPayload, _ file: OwnedFD) throws(VhostUserError) -> SessionAction {
    let layout = try inflightLayout(payload)
    do throws(VirtioError) {
      inflight = try InflightRecord(
        file: file.descriptor, offset: payload.offset, size: payload.size, layout: layout, policy: offer.memoryPolicy)
    } catch {
      throw VhostUserError(.badMemory, "\(error)")
    }
    return .none
  }

  /// Checks the two numbers that say how large a record is against what the device has.
  private func inflightLayout(_ payload: InflightPayload) throws(VhostUserError) -> InflightLayout {
    let (queues, size) = (Int(payload.queues), Int(payload.queueSize))
    guard queues <= vrings.count, size <= offer.maxRingSize else {
      throw VhostUserError(
        .indexOutOfRange,
        "an in-flight record for \(queues) rings of \(size) descriptors: the device has \(vrings.count) of at most "
          + "\(offer.maxRingSize)")
    }
    do throws(VirtioError) {
      return try InflightLayout(RingLayout.Format(for: deviceFeatures), queues: queues, queueSize: size)
    } catch {
      throw VhostUserError(.malformed, "\(error)")
    }
  }
}
