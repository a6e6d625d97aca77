import CLinux
import Glibc
import SystemPackage
import Testing

@testable import Virtio

/// A memory file, and mappings of it.
private struct MemoryFile: ~Copyable {
  let file: FileDescriptor
  let size: Int

  init(pages: Int) throws {
    file = unsafe FileDescriptor(rawValue: clinux_memfd("guarded"))
    size = pages * 4096
    guard file.rawValue >= 0, ftruncate(file.rawValue, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
  }

  /// A file of one huge page, on a file system that is there for it alone.
  static func huge() throws -> MemoryFile {
    var folder = Array("/tmp/vdpa-huge-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&folder) != nil else { throw Errno(rawValue: errno) }
    defer { unsafe rmdir(folder) }
    guard unsafe mount("none", folder, "hugetlbfs", 0, "pagesize=2M") == 0 else { throw Errno(rawValue: errno) }
    defer { unsafe umount2(folder, CInt(MNT_DETACH)) }
    let path = String(decoding: folder.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self) + "/file"
    let file = try FileDescriptor.open(FilePath(path), .readWrite, options: .create, permissions: .ownerReadWrite)
    return try MemoryFile(file, size: 2 << 20)
  }

  private init(_ file: FileDescriptor, size: Int) throws {
    self.file = file
    self.size = size
    guard ftruncate(file.rawValue, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
  }

  deinit { try? file.close() }

  func map() throws -> GuardedMapping { try GuardedMapping(file: file, offset: 0, length: size, name: "the test's") }

  func shrink(to size: Int = 0) { #expect(ftruncate(file.rawValue, off_t(size)) == 0) }
}

extension GuardedMapping {
  fileprivate func load(_ offset: Int) -> UInt64 { unsafe clinux_load_u64(start + offset) }
  fileprivate func store(_ offset: Int, _ value: UInt64) { unsafe clinux_store_u64(start + offset, value) }
}

/// Runs `body` on several threads at once, and waits for all.
private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  final class Start: Sendable {
    let index: Int
    let body: @Sendable (Int) -> Void
    init(_ index: Int, _ body: @escaping @Sendable (Int) -> Void) { (self.index, self.body) = (index, body) }
  }
  var threads: [pthread_t] = []
  for index in 0..<count {
    var thread = pthread_t()
    let start = unsafe Unmanaged.passRetained(Start(index, body)).toOpaque()
    let error = unsafe pthread_create(
      &thread, nil,
      { argument in
        if let argument = unsafe argument {
          let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
          start.body(start.index)
        }
        return nil
      }, start)
    precondition(error == 0)
    threads.append(thread)
  }
  for thread in threads { pthread_join(thread, nil) }
}

@Suite struct BusErrorGuardTests {
  init() throws { try BusErrorGuard.install() }

  @Test("A file that shrinks: its mapping becomes memory of this process, all of it, and is marked; others stay")
  func shrinks() throws {
    let file = try MemoryFile(pages: 16)
    let other = try MemoryFile(pages: 2)
    let (mapping, second, neighbour) = (try file.map(), try file.map(), try other.map())
    neighbour.store(4096, 77)
    mapping.store(0, 1)
    mapping.store(15 * 4096, 2)
    let losses = BusErrorGuard.losses
    #expect(clinux_guard_is_installed() && !mapping.isLost)
    file.shrink(to: 4096)
    // What is left of the file can be read still.
    #expect(mapping.load(0) == 1 && !mapping.isLost)
    #expect(mapping.load(15 * 4096) == 0)
    #expect(mapping.isLost && !second.isLost && !neighbour.isLost)
    #expect(BusErrorGuard.losses &- losses >= 1)
    // All of it, and to be written too; the file gets nothing of it.
    #expect(mapping.load(0) == 0)
    mapping.store(0, 3)
    mapping.store(15 * 4096 + 8, 4)
    #expect(mapping.load(0) == 3 && mapping.load(15 * 4096 + 8) == 4)
    #expect(second.load(0) == 1 && neighbour.load(4096) == 77)
    // The other mapping of the file has a mark of its own.
    second.store(8 * 4096, 5)
    #expect(second.isLost && second.load(8 * 4096) == 5)
  }

  @Test("A hole is memory like any other")
  func punched() throws {
    let file = try MemoryFile(pages: 4)
    let mapping = try file.map()
    mapping.store(4096, 9)
    #expect(clinux_allocate(file.file.rawValue, CLINUX_PUNCH_HOLE, 0, UInt64(file.size)) == 0)
    #expect(mapping.load(4096) == 0)
    mapping.store(4096, 10)
    #expect(mapping.load(4096) == 10 && !mapping.isLost)
  }

  @Test("What has taken the place of a mapping stays out of core files")
  func notDumped() throws {
    let file = try MemoryFile(pages: 4)
    let mapping = try file.map()
    func flags() throws -> Substring {
      let start = unsafe "\(String(UInt(bitPattern: mapping.start), radix: 16))-"
      let smaps = try unsafe FileDescriptor.open("/proc/self/smaps", .readOnly)
      defer { try? smaps.close() }
      var text: [UInt8] = []
      while true {
        let piece = try unsafe [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
          count = unsafe try smaps.read(into: UnsafeMutableRawBufferPointer(buffer))
        }
        if piece.isEmpty { break }
        text += piece
      }
      let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
      let first = try #require(lines.firstIndex { $0.hasPrefix(start) })
      return try #require(lines[first...].first { $0.hasPrefix("VmFlags:") })
    }
    #expect(try flags().split(separator: " ").contains("dd") && flags().split(separator: " ").contains("sh"))
    file.shrink()
    mapping.store(0, 1)
    // No longer shared, and not dumped all the same.
    #expect(try flags().split(separator: " ").contains("dd") && !flags().split(separator: " ").contains("sh"))
  }

  @Test("Threads that meet the loss at the same time all go on")
  func concurrently() throws {
    for _ in 0..<50 {
      let file = try MemoryFile(pages: 64)
      let mapping = try file.map()
      for page in 0..<64 { mapping.store(page * 4096, 1) }
      file.shrink()
      onThreads(8) { thread in
        for page in 0..<64 { _ = mapping.load((page + thread * 8) % 64 * 4096) }
      }
      #expect(mapping.isLost)
    }
  }

  @Test("Mappings that come and go meanwhile are neither found by mistake nor overwritten")
  func whileOthersChange() throws {
    onThreads(4) { thread in
      for round in 0..<300 {
        guard let file = try? MemoryFile(pages: 4), let mapping = try? file.map() else { return }
        mapping.store(4096, UInt64(round))
        guard thread % 2 == 0 else {
          #expect(mapping.load(4096) == UInt64(round) && !mapping.isLost)
          continue
        }
        file.shrink()
        #expect(mapping.load(4096) == 0 && mapping.isLost)
      }
    }
  }

  /// Whether a huge page can be had here.
  static let hasHugePages: Bool = {
    do { return try MemoryFile.huge().map().length > 0 } catch { return false }
  }()

  @Test("Huge pages that go away", .enabled(if: hasHugePages, "this machine has no free huge page"))
  func hugePages() throws {
    let file = try MemoryFile.huge()
    let region = try MemoryRegion(guestAddress: 0, size: 4096, userAddress: 0, fileOffset: 12288)
    let mapping = try MemoryMapping(file: file.file, region: region)
    let start = unsafe mapping.start
    unsafe clinux_store_u64(start, 1)
    file.shrink()
    #expect(unsafe clinux_load_u64(start) == 0)
    #expect(mapping.isLost)
  }

  @Test("The memory of a guest says which region is gone, and what to do")
  func named() throws {
    let file = try MemoryFile(pages: 4)
    let region = try MemoryRegion(guestAddress: 0x10_0000, size: 16384, userAddress: 0x7000_0000, fileOffset: 0)
    let memory = try GuestMemory.table([(region, file.file)])
    #expect(memory.addressMap.loss == nil)
    file.shrink()
    var view = memory.addressMap.view
    #expect(view.readUInt16(at: 0x10_1000) == 0)
    let loss = try #require(memory.addressMap.loss)
    for part in ["0x100000", "0x4000", "is gone", "truncated", "start the front-end anew"] {
      #expect(loss.contains(part), "\(loss)")
    }
  }

  // MARK: In a process of its own

  @Test("No mapping is left unguarded: with the table full, memory is refused")
  func full() async {
    await #expect(processExitsWith: .success) {
      let file = try MemoryFile(pages: 1)
      let mapping = try file.map()
      // Places for memory that nobody touches.
      var places: [CInt] = []
      while true {
        let place = unsafe clinux_guard_enter(UnsafeMutableRawPointer(bitPattern: 4096), 1)
        guard place >= 0 else { break }
        places.append(place)
      }
      precondition(places.count == Int(CLINUX_GUARD_CAPACITY) - 1)
      let region = try MemoryRegion(guestAddress: 0, size: 4096, userAddress: 0, fileOffset: 0)
      do throws(VirtioError) {
        _ = try MemoryMapping(file: file.file, region: region)
        preconditionFailure()
      } catch {
        precondition(error.code == .tooManyMappings && error.description.contains("65536 mappings"))
      }
      // The last place works as well as the first.
      clinux_guard_leave(places.removeLast())
      let last = try file.map()
      try BusErrorGuard.install()
      precondition(ftruncate(file.file.rawValue, 0) == 0)
      precondition(last.load(0) == 0 && last.isLost && !mapping.isLost)
    }
  }

  @Test("A fault of other memory ends the process as it would have")
  func unguarded() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      try BusErrorGuard.install()
      try BusErrorGuard.install()
      try touchUnguarded()
    }
  }

  @Test("A fault of other memory goes to the handler that was there before, with its address")
  func previousWithInformation() async {
    await #expect(processExitsWith: .exitCode(42)) {
      var action = sigaction()
      action.sa_flags = SA_SIGINFO
      unsafe action.__sigaction_handler.sa_sigaction = { _, info, _ in
        _exit(unsafe info?.pointee._sifields._sigfault.si_addr == nil ? 41 : 42)
      }
      precondition(unsafe sigaction(SIGBUS, &action, nil) == 0)
      try BusErrorGuard.install()
      try touchUnguarded()
    }
  }

  @Test("The same with a handler that takes a number alone, which still does not get what is guarded")
  func previousPlain() async {
    await #expect(processExitsWith: .exitCode(43)) {
      signal(SIGBUS) { number in _exit(number == SIGBUS ? 43 : 41) }
      try BusErrorGuard.install()
      let file = try MemoryFile(pages: 1)
      let mapping = try file.map()
      precondition(ftruncate(file.file.rawValue, 0) == 0)
      precondition(mapping.load(0) == 0)
      try touchUnguarded()
    }
  }

  @Test("A signal that somebody sends is no fault: it ends the process, or is ignored as before")
  func sent() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      try BusErrorGuard.install()
      raise(SIGBUS)
    }
    await #expect(processExitsWith: .success) {
      signal(SIGBUS, SIG_IGN)
      try BusErrorGuard.install()
      raise(SIGBUS)
    }
  }

  @Test(
    "Whoever waits for a page of memory that is lost meanwhile goes on when no more pages are brought",
    .enabled(if: PageFaults.lack == nil))
  func waiting() throws {
    let faults = try PageFaults()
    let file = try MemoryFile(pages: 16)
    let descriptor = file.file
    let mapping = try file.map()
    unsafe try faults.register(mapping.start, mapping.length)
    onThreads(2) { thread in
      if thread == 0 {
        // Nobody brings it.
        #expect(mapping.load(0) == 0)
      } else {
        var entry = pollfd(fd: faults.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        #expect(unsafe poll(&entry, 1, 10_000) == 1)
        #expect(ftruncate(descriptor.rawValue, 8 * 4096) == 0)
        #expect(mapping.load(8 * 4096) == 0 && mapping.isLost)
        unsafe faults.unregister(mapping.start, mapping.length)
      }
    }
  }
}

/// Reads from a page that is gone and that nobody guards.
private func touchUnguarded() throws {
  let file = try MemoryFile(pages: 1)
  let page = unsafe mmap(nil, 4096, PROT_READ, MAP_SHARED, file.file.rawValue, 0)
  precondition(ftruncate(file.file.rawValue, 0) == 0)
  unsafe clinux_touch(page)
}
