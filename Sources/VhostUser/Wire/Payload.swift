/// What a message carries: a layout in bytes and the rules for its values.
package protocol Payload: Hashable, Sendable {
  /// Takes the value off the reader and checks it.
  init(from reader: inout WireReader) throws(VhostUserError)

  /// Writes the value's bytes.
  func write(to writer: inout WireWriter)
}

extension Payload {
  /// Decodes and checks a value that fills `bytes` exactly.
  package init(decoding bytes: [UInt8]) throws(VhostUserError) {
    var reader = WireReader(bytes)
    try self.init(from: &reader)
    try reader.finish()
  }

  /// The value's bytes.
  package var encoded: [UInt8] {
    var writer = WireWriter()
    write(to: &writer)
    return writer.bytes
  }
}
