/// `vring address`, 40 bytes: where a ring's three parts are (vhost-user, A vring address description).
///
/// Alignment is not checked here: it depends on the ring format, which the features decide.
package struct VringAddressPayload: Payload {
  package static let byteCount = 40
  private static let logFlag: UInt32 = 1

  package var index: UInt32
  /// `VHOST_VRING_F_LOG` (bit 0): writes to the used ring go to the dirty log.
  package var logsUsedRing: Bool
  /// The descriptor table (packed: the descriptor ring), in the front-end's address space, or an IOVA with
  /// ACCESS_PLATFORM.
  package var descriptor: UInt64
  /// The used ring (packed: the device event area).
  package var used: UInt64
  /// The available ring (packed: the driver event area).
  package var available: UInt64
  /// The used ring's guest physical address, for the dirty log.
  package var log: UInt64

  package init(
    index: UInt32, descriptor: UInt64, used: UInt64, available: UInt64, log: UInt64 = 0, logsUsedRing: Bool = false
  ) {
    self.index = index
    self.logsUsedRing = logsUsedRing
    self.descriptor = descriptor
    self.used = used
    self.available = available
    self.log = log
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    index = try reader.u32()
    let flags = try reader.u32()
    guard flags & ~VringAddressPayload.logFlag == 0 else {
      throw VhostUserError(.malformed, "unknown vring address flags: 0x\(String(flags, radix: 16))")
        .with(ring: Int(index))
    }
    logsUsedRing = flags & VringAddressPayload.logFlag != 0
    descriptor = try reader.u64()
    used = try reader.u64()
    available = try reader.u64()
    log = try reader.u64()
  }

  package func write(to writer: inout WireWriter) {
    writer.append(index)
    writer.append(logsUsedRing ? VringAddressPayload.logFlag : 0)
    writer.append(descriptor)
    writer.append(used)
    writer.append(available)
    writer.append(log)
  }
}
