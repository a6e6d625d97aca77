/// The one region of ADD_MEM_REG and REM_MEM_REG, 40 bytes (vhost-user, Single memory region description).
package struct SingleRegionPayload: Payload {
  package static let byteCount = 8 + MemoryRegionPayload.byteCount

  package var region: MemoryRegionPayload

  package init(region: MemoryRegionPayload) {
    self.region = region
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    try reader.skip(8)
    region = try MemoryRegionPayload(from: &reader)
  }

  package func write(to writer: inout WireWriter) {
    writer.append(UInt64(0))
    region.write(to: &writer)
  }
}
