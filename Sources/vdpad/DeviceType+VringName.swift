import Virtio

extension DeviceType {
  /// What a vring is called: that of a pair by what the guest does on it.
  func vringName(_ index: Int) -> String {
    self == .net ? "\(index % 2 == 0 ? "rx" : "tx")\(index / 2)" : "vq\(index)"
  }
}
