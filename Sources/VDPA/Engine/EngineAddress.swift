/// Where an engine is to be found and how it is to be set up.
public struct EngineAddress: Sendable, Hashable, CustomStringConvertible {
  /// What the driver finds its hardware by: a PCI address, a vdpa device name, `virtual` for an engine without any.
  public var text: String
  /// Settings that the driver understands.
  public var parameters: Parameters

  /// An address.
  public init(_ text: String, parameters: Parameters = [:]) {
    self.text = text
    self.parameters = parameters
  }

  /// The address alone.
  public var description: String { text }
}
