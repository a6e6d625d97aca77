import CLinux
import Glibc
import SystemPackage
import Testing

@testable import Virtio

@Suite struct MemoryMappingTests {
  private func map(
    _ file: FileDescriptor, size: UInt64 = 4096, offset: UInt64 = 0, policy: MemoryMapping.FilePolicy = .memoryOnly
  ) -> VirtioError.Code? {
    do {
      let region = try MemoryRegion(guestAddress: 0, size: size, userAddress: 0, fileOffset: offset)
      _ = try MemoryMapping(file: file, region: region, policy: policy)
      return nil
    } catch { return error.code }
  }

  private func memfd(_ size: Int) throws -> FileDescriptor {
    let file = unsafe FileDescriptor(rawValue: clinux_memfd("mapping"))
    try #require(file.rawValue >= 0 && ftruncate(file.rawValue, off_t(size)) == 0)
    return file
  }

  @Test func regionMustBeInItsFile() throws {
    let file = try memfd(8192)
    defer { try? file.close() }
    #expect(map(file, size: 8192) == nil && map(file, size: 4096, offset: 4096) == nil)
    #expect(map(file, size: 8193) == .fileTooSmall && map(file, size: 4096, offset: 4097) == .fileTooSmall)
    #expect(map(file, size: 1, offset: 8192) == .fileTooSmall)
    #expect(
      map(file, size: 1 << 40) == .fileTooSmall && map(file, size: 1, offset: UInt64(Int64.max) - 1) == .fileTooSmall)
    let empty = try memfd(0)
    defer { try? empty.close() }
    #expect(map(empty, size: 1) == .fileTooSmall)
  }

  @Test func hugeSparseFileIsAnError() throws {
    let file = try memfd(0)
    defer { try? file.close() }
    try #require(ftruncate(file.rawValue, off_t(Int64.max - 4095)) == 0)
    #expect(map(file, size: UInt64(Int64.max - 4095)) == .mappingFailed)
  }

  @Test func offsetsNeedNotBeAligned() throws {
    let file = try memfd(3 * 4096)
    defer { try? file.close() }
    let pattern = (0..<3 * 4096).map { UInt8(truncatingIfNeeded: $0 / 7) }
    _ = try unsafe pattern.withUnsafeBytes { unsafe try file.writeAll(toAbsoluteOffset: 0, $0) }
    for (offset, size) in [(1, 1), (4095, 2), (4096, 4096), (5000, 7288), (16, 12272)] {
      let region = try MemoryRegion(guestAddress: 0, size: UInt64(size), userAddress: 0, fileOffset: UInt64(offset))
      let mapping = try MemoryMapping(file: file, region: region)
      let bytes = unsafe Array(UnsafeRawBufferPointer(start: mapping.start, count: size))
      #expect(bytes == Array(pattern[offset..<offset + size]))
      withExtendedLifetime(mapping) {}
    }
  }

  @Test func filesThatAreNotMemory() throws {
    var name = Array("vdpa-mapping-test-XXXXXX".utf8CString)
    // In the build's directory, which is on a disk; a temporary directory may be memory.
    let disk = FileDescriptor(rawValue: unsafe mkstemp(&name))
    try #require(disk.rawValue >= 0)
    _ = unsafe unlink(name)
    defer { try? disk.close() }
    try #require(ftruncate(disk.rawValue, 8192) == 0)
    var type: Int64 = 0
    try #require(unsafe clinux_filesystem(disk.rawValue, &type) == 0 && type != Int64(CLINUX_TMPFS_MAGIC))
    #expect(map(disk) == .wrongFileSystem)
    #expect(map(disk, policy: .anyFileAtTheRiskOfBlockedWorkers) == nil)
    #expect(map(disk, size: 8193, policy: .anyFileAtTheRiskOfBlockedWorkers) == .fileTooSmall)

    // A device node lies on a file system of the kind of tmpfs, but has no size.
    let zero = try unsafe FileDescriptor.open("/dev/zero", .readWrite)
    defer { try? zero.close() }
    let kinds: Set<VirtioError.Code?> = [.wrongFileSystem, .fileTooSmall]
    #expect(kinds.contains(map(zero)))
    #expect(map(zero, policy: .anyFileAtTheRiskOfBlockedWorkers) == .fileTooSmall)

    let (end, other) = try FileDescriptor.pipe()
    defer {
      try? end.close()
      try? other.close()
    }
    #expect(map(end) == .wrongFileSystem && map(end, policy: .anyFileAtTheRiskOfBlockedWorkers) == .fileTooSmall)
    #expect(map(FileDescriptor(rawValue: -1), policy: .anyFileAtTheRiskOfBlockedWorkers) == .mappingFailed)

    let directory = try unsafe FileDescriptor.open("/dev/shm", .readOnly, options: .directory)
    defer { try? directory.close() }
    #expect(map(directory, size: 1) == .wrongFileSystem)
  }

  @Test func filesThatCannotBeWritten() throws {
    let file = try memfd(4096)
    defer { try? file.close() }
    let readOnly = try unsafe FileDescriptor.open("/proc/self/fd/\(file.rawValue)", .readOnly)
    defer { try? readOnly.close() }
    #expect(map(readOnly) == .mappingFailed)
  }

  @Test func errorsSayWhatToDo() throws {
    let file = try memfd(100)
    defer { try? file.close() }
    let region = try MemoryRegion(guestAddress: 0x1000, size: 200, userAddress: 0x2000, fileOffset: 3)
    let error = #expect(throws: VirtioError.self) { _ = try MemoryMapping(file: file, region: region) }
    let text = try #require(error).description
    for part in ["0x1000", "0xc8", "0x2000", "0x3", "100 bytes"] { #expect(text.contains(part), "\(text)") }
    let underlying = VirtioError(.mappingFailed, "it failed", underlying: .noMemory)
    #expect(underlying.description == "it failed: \(Errno.noMemory)")
  }
}
