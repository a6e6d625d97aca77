/// How a simulated device's addresses are translated (design §4, DMA translation).
public enum Translation: String, Sendable, Hashable, CaseIterable {
  /// An IOMMU stands between the device and memory; the engine maps guest memory into its domain by itself, as VFIO does.
  case platform
  /// The device translates by itself and is told what is mapped, by the framework.
  case onChip = "on-chip"
}
