internal import CLinux
internal import Glibc
internal import SystemPackage
internal import VDPA
internal import Virtio

/// One queue of a host's TAP device.
struct TapQueue: Sendable {
  /// Non-blocking; frames behind headers of ``NetHeader/modernLength`` bytes.
  let descriptor: OwnedFD
  /// The device's name.
  let name: String
  /// Whether the device can have several queues, of which each can be left out.
  let isDetachable: Bool

  /// What has come of a packet.
  enum Outcome: Equatable {
    case done
    /// There is no packet, or no room for one.
    case again
    /// The kernel does not take this one; the next one it may.
    case refused
    /// The device is there no more.
    case gone
  }

  /// Sends a frame with its header.
  func write(_ packet: Span<UInt8>) -> Outcome {
    let written = unsafe packet.withUnsafeBytes { unsafe clinux_write(descriptor.rawValue, $0.baseAddress, $0.count) }
    switch written {
    case 0...: return .done
    case Int(-EBADFD): return .gone
    // Its link is down, its queue full, or the frame none: a NIC drops what it cannot send.
    default: return .refused
    }
  }

  /// Reads the next frame with its header into a burst; `again` also for a burst that is full.
  func read(into burst: PacketBurst) -> Outcome {
    let count = unsafe burst.append { unsafe clinux_read(descriptor.rawValue, $0.baseAddress, $0.count) }
    switch count {
    case nil, Int(-EAGAIN), Int(-EINTR): return .again
    // The kernel ends the queue's socket before it takes the device away.
    case Int(-EBADFD), Int(-EFAULT): return .gone
    case let count?: return count < NetHeader.modernLength ? .refused : .done
    }
  }

  /// Drops what waits in the kernel, up to as many packets as it keeps there unless told otherwise.
  func drain() {
    // What is behind the header and has no room is cut off, and gone.
    var header = (UInt64(0), UInt64(0))
    for _ in 0..<1024 {
      let count = unsafe withUnsafeMutableBytes(of: &header) {
        unsafe clinux_read(descriptor.rawValue, $0.baseAddress, $0.count)
      }
      if count < 0 { return }
    }
  }

  /// Says what of a packet may be left to the guest that reads it.
  func setOffloads(for receiver: NetGuest) -> Errno? {
    let features = receiver.features
    let result = clinux_tap_set_offloads(
      descriptor.rawValue, features.contains(.netGuestChecksum), features.contains(.netGuestTSO4),
      features.contains(.netGuestTSO6), features.contains(.netGuestECN))
    return result == 0 ? nil : Errno(rawValue: -result)
  }

  /// Says whether the kernel sends packets here.
  func setAttached(_ isAttached: Bool) -> Errno? {
    let result = clinux_tap_set_attached(descriptor.rawValue, isAttached)
    return result == 0 ? nil : Errno(rawValue: -result)
  }
}
