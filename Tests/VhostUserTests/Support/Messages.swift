import VhostUser

/// A message as it is on the wire.
func wire(_ request: FrontendRequest, flags: MessageHeader.Flags = [], _ payload: [UInt8] = []) -> [UInt8] {
  MessageHeader(request: request.rawValue, flags: flags, size: payload.count).encoded + payload
}

/// A message as a connection hands it over.
func raw(_ request: FrontendRequest, flags: MessageHeader.Flags = [], _ payload: [UInt8] = []) -> RawMessage {
  RawMessage(
    header: MessageHeader(request: request.rawValue, flags: flags, size: payload.count), payload: payload)
}

/// The bytes of a u64.
func u64(_ value: UInt64) -> [UInt8] {
  var writer = WireWriter()
  writer.append(value)
  return writer.bytes
}

/// The bytes of some u32.
func u32(_ values: UInt32...) -> [UInt8] {
  var writer = WireWriter()
  for value in values { writer.append(value) }
  return writer.bytes
}
