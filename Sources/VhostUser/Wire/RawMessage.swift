package import VDPA

/// A whole message off the wire, its header checked, its payload not yet looked at.
package struct RawMessage: Sendable {
  package var header: MessageHeader
  /// As many bytes as the header says.
  package var payload: [UInt8]
  /// What came with the message, in order; closed when the last one lets go.
  package var descriptors: [OwnedFD]

  package init(header: MessageHeader, payload: [UInt8] = [], descriptors: [OwnedFD] = []) {
    self.header = header
    self.payload = payload
    self.descriptors = descriptors
  }
}
