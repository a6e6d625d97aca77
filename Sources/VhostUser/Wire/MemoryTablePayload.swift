/// The memory table of SET_MEM_TABLE, 8 + 32 n bytes (vhost-user, Multiple Memory regions description).
package struct MemoryTablePayload: Payload {
  /// As many as descriptors fit a message.
  package static let maximumRegions = 8
  package static let byteCounts = 8...(8 + maximumRegions * MemoryRegionPayload.byteCount)

  /// The regions, in the order of their descriptors; may be empty.
  package var regions: [MemoryRegionPayload]

  package init(regions: [MemoryRegionPayload]) {
    self.regions = regions
  }

  package init(from reader: inout WireReader) throws(VhostUserError) {
    let count = try reader.u32()
    try reader.skip(4)
    guard count <= UInt32(MemoryTablePayload.maximumRegions) else {
      throw VhostUserError(
        .badMemory, "\(count) memory regions, more than the \(MemoryTablePayload.maximumRegions) a table can have")
    }
    regions = []
    for _ in 0..<count {
      regions.append(try MemoryRegionPayload(from: &reader))
    }
    // Some front-ends send a table of a fixed size: that of user mode Linux has room for two regions and often one.
    if reader.remaining % MemoryRegionPayload.byteCount == 0 { try reader.skip(reader.remaining) }
  }

  package func write(to writer: inout WireWriter) {
    writer.append(UInt32(regions.count))
    writer.append(UInt32(0))
    for region in regions { region.write(to: &writer) }
  }

  /// Refuses a table whose regions do not have a descriptor each.
  package func check(descriptors count: Int) throws(VhostUserError) {
    guard count == regions.count else {
      throw VhostUserError(
        count < regions.count ? .missingDescriptor : .tooManyDescriptors,
        "\(regions.count) memory regions came with \(count) descriptors")
    }
  }
}
