/// A virtio device type by its number (virtio 1.2, section 5).
public struct VirtioDeviceType: RawRepresentable, Hashable, Sendable {
  /// The virtio device id.
  public let rawValue: UInt16

  /// Makes a type of its number.
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// A short name, such as `net`; `type-N` where the standard names none.
  public var name: String { Self.names[rawValue] ?? "type-\(rawValue)" }

  private static let names: [UInt16: String] = [
    0: "reserved", 1: "net", 2: "block", 3: "console", 4: "entropy", 5: "balloon", 6: "io-memory", 7: "rpmsg",
    8: "scsi", 9: "9p", 10: "mac80211", 11: "rproc-serial", 12: "caif", 13: "memory-balloon", 16: "gpu", 17: "clock",
    18: "input", 19: "socket", 20: "crypto", 21: "signal-distribution", 22: "pstore", 23: "iommu", 24: "memory",
    25: "sound", 26: "fs", 27: "pmem", 28: "rpmb", 29: "mac80211-hwsim", 30: "video-encoder", 31: "video-decoder",
    32: "scmi", 33: "nitro-secure-module", 34: "i2c", 35: "watchdog", 36: "can", 38: "parameter-server",
    39: "audio-policy", 40: "bluetooth", 41: "gpio", 42: "rdma", 43: "camera", 44: "ism", 45: "spi",
  ]
}
