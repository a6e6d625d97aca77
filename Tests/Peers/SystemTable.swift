import SystemPackage

/// The kernel's tables in /proc.
package enum SystemTable {
  /// The text of one, nil when it cannot be read. A read returns a page of it or less, which Foundation takes for its end.
  /// Names in it may be any bytes, also those of programs that are no business of ours.
  package static func text(at path: String) -> String? {
    guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) else { return nil }
    defer { try? file.close() }
    var bytes: [UInt8] = []
    while true {
      // The closure fills the array's own room.
      let piece = unsafe try? [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
        count = try unsafe file.read(into: UnsafeMutableRawBufferPointer(buffer))
      }
      guard let piece else { return nil }
      if piece.isEmpty { return String(decoding: bytes, as: UTF8.self) }
      bytes += piece
    }
  }
}
