internal import CFuzzer
internal import CLinux
internal import Glibc
internal import SystemPackage
internal import Virtio

/// Guest memory for the fuzzer: regions of one memory file with a page of canary in front of, between and behind them.
///
/// The walkers' own mapping has inaccessible address space around it, and what its pages hold besides the region is
/// poisoned. The guest writes through a second mapping of the whole file, which the walkers do not know. A private copy of
/// the file, the image, says what memory must look like when only the guest writes.
@safe final class FuzzMemory: Sendable {
  /// A region.
  struct Place {
    var start: UInt64
    var size: UInt64
    /// How far behind the start of a page of the file it starts.
    var lead: UInt64 = 0
    var access: AddressMap.Access = .readWrite
    var end: UInt64 { start + size }
  }

  static let page = 4096

  let places: [Place]
  /// Where each region starts in the file.
  let offsets: [Int]
  let guest: GuestMemory
  /// Guest memory with the permissions of the regions.
  let map: AddressMap
  let length: Int
  // Both are mapped for good and freed with the process. The file is what two threads write to at the same time; the
  // image belongs to libFuzzer's thread.
  nonisolated(unsafe) private let file: UnsafeMutableRawPointer
  nonisolated(unsafe) private let image: UnsafeMutableRawPointer
  /// What walkers note in, with a bit for every page but those at the end of all addresses; and its bytes.
  let log: DirtyLog
  nonisolated(unsafe) private let bitmap: UnsafeMutableRawPointer
  private static let bitmapBytes = 0x4010_0000 / 4096 / 8

  /// Memory with those regions.
  ///
  /// - Throws: What the system says if there is none.
  init(_ places: [Place]) throws {
    var regions: [MemoryRegion] = []
    var end = FuzzMemory.page
    for (i, place) in places.enumerated() {
      let offset = UInt64(end) + place.lead
      regions.append(
        try MemoryRegion(
          guestAddress: place.start, size: place.size, userAddress: UInt64(i + 1) << 40, fileOffset: offset))
      end = (Int(offset + place.size) + FuzzMemory.page - 1) / FuzzMemory.page * FuzzMemory.page + FuzzMemory.page
    }
    let fd = unsafe clinux_memfd("guest")
    guard fd >= 0 else { throw Errno(rawValue: -fd) }
    defer { close(fd) }
    guard ftruncate(fd, off_t(end)) == 0,
      let second = unsafe mmap(nil, end, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), unsafe second != MAP_FAILED
    else { throw Errno(rawValue: errno) }
    unsafe file = second
    unsafe image = .allocate(byteCount: end, alignment: FuzzMemory.page)
    self.places = places
    offsets = regions.map { Int($0.fileOffset) }
    length = end
    for i in 0..<end / 8 {
      unsafe file.storeBytes(of: UInt64(i) &* 0x9e37_79b9_7f4a_7c15, toByteOffset: i * 8, as: UInt64.self)
    }
    unsafe image.copyMemory(from: file, byteCount: end)

    guest = try GuestMemory.table(regions.map { ($0, FileDescriptor(rawValue: fd)) })
    map = try AddressMap(
      ranges: zip(guest.addressMap.ranges, places.sorted { $0.start < $1.start }).map { $0.limited(to: $1.access) })
    let pages = unsafe clinux_memfd("log")
    guard pages >= 0 else { throw Errno(rawValue: -pages) }
    defer { close(pages) }
    guard ftruncate(pages, off_t(FuzzMemory.bitmapBytes)) == 0,
      let bits = unsafe mmap(nil, FuzzMemory.bitmapBytes, PROT_READ | PROT_WRITE, MAP_SHARED, pages, 0),
      unsafe bits != MAP_FAILED
    else { throw Errno(rawValue: errno) }
    unsafe bitmap = bits
    log = try DirtyLog(
      file: FileDescriptor(rawValue: pages), offset: 0, size: UInt64(FuzzMemory.bitmapBytes))
    for place in places { poison(place) }
  }

  /// Poisons what the pages of a region's mapping hold besides the region.
  private func poison(_ place: Place) {
    var view = map.view
    guard let start = unsafe view.contiguous(at: place.start, length: Int(place.size), for: .read) else {
      preconditionFailure("a region is not in the map")
    }
    let page = FuzzMemory.page
    let end = unsafe start + Int(place.size)
    let lead = Int(UInt(bitPattern: start)) % page
    unsafe cfuzzer_poison(start - lead, lead)
    unsafe cfuzzer_poison(end, (page - Int(UInt(bitPattern: end)) % page) % page)
  }

  var view: MemoryView { map.view }

  /// Where a guest address is in the file and how many bytes of its region follow; nil when it is not mapped.
  func find(_ address: UInt64, for access: AddressMap.Access = .read) -> (offset: Int, rest: Int)? {
    for (i, place) in places.enumerated()
    where address >= place.start && address - place.start < place.size && place.access.isSuperset(of: access) {
      return (offsets[i] + Int(address - place.start), Int(place.end - address))
    }
    return nil
  }

  /// Whether all of a piece is mapped for that access.
  func covers(_ address: UInt64, length: UInt64, for access: AddressMap.Access) -> Bool {
    var address = address
    var rest = length
    while rest > 0 {
      guard let found = find(address, for: access) else { return false }
      let part = min(UInt64(found.rest), rest)
      rest -= part
      address &+= part
    }
    return true
  }

  // MARK: The guest

  /// Makes all memory that a device may write zero.
  func reset() {
    for (i, place) in places.enumerated() where place.access == .readWrite {
      unsafe memset(file + offsets[i], 0, Int(place.size))
      unsafe memset(image + offsets[i], 0, Int(place.size))
    }
  }

  /// Carries a store of the guest out, while walkers may be at work.
  @inline(__always) func apply(_ store: Store) {
    precondition(Int(store.offset) + Int(store.width) <= length)
    let at = unsafe file + Int(store.offset)
    switch store.width {
    case 8: unsafe clinux_store_u64(at, store.value)
    case 4: unsafe clinux_store_u32(at, UInt32(truncatingIfNeeded: store.value))
    case 2: unsafe clinux_store_u16(at, UInt16(truncatingIfNeeded: store.value))
    default: unsafe cfuzzer_store_u8(at, UInt8(truncatingIfNeeded: store.value))
    }
  }

  /// Carries a store of the guest out and notes it in the image.
  func applyNoted(_ store: Store) {
    apply(store)
    unsafe memcpy(image + Int(store.offset), file + Int(store.offset), Int(store.width))
  }

  /// A number in memory as the guest sees it, across adjacent regions; bytes that are not mapped are 0.
  func load<T: FixedWidthInteger & UnsignedInteger>(_ address: UInt64, as type: T.Type = T.self) -> T {
    if let found = find(address), found.rest >= T.bitWidth / 8 {
      return T(littleEndian: unsafe file.loadUnaligned(fromByteOffset: found.offset, as: T.self))
    }
    var value: T = 0
    for i in 0..<T.bitWidth / 8 {
      guard let found = find(address &+ UInt64(i)) else { continue }
      value |= T(unsafe file.load(fromByteOffset: found.offset, as: UInt8.self)) << T(i * 8)
    }
    return value
  }

  // MARK: What a walker may write

  /// Takes over what the walker has written to a piece of memory: it was allowed to.
  func allow(_ address: UInt64, _ count: UInt64) {
    var address = address
    var rest = count
    while rest > 0, let found = find(address, for: .write) {
      let part = Int(min(UInt64(found.rest), rest))
      unsafe memcpy(image + found.offset, file + found.offset, part)
      rest -= UInt64(part)
      let next = address.addingReportingOverflow(UInt64(part))
      guard !next.overflow else { break }
      address = next.partialValue
    }
  }

  /// Takes over all that may be written at all.
  func allowAll() { for place in places { allow(place.start, place.size) } }

  /// Ends the process if memory is not what the image says.
  func requireUnchanged(after step: StaticString) { require(0..<length, step) }

  /// Ends the process if the walker has written to a page and not noted it. The notes are forgotten.
  func requireNoted(by step: StaticString) {
    for (i, place) in places.enumerated() where log.covers(upTo: place.end) {
      var from = 0
      while from < Int(place.size) {
        let same = unsafe cfuzzer_first_difference(
          file + offsets[i] + from, image + offsets[i] + from, Int(place.size) - from)
        guard same < Int(place.size) - from else { break }
        let address = place.start + UInt64(from + same)
        let page = Int(address / DirtyLog.pageSize)
        let bits = unsafe bitmap.load(fromByteOffset: page / 8, as: UInt8.self)
        Oracle.require(
          bits & 1 << UInt8(page % 8) != 0, "\(step) has written to 0x\(String(address, radix: 16)) and not noted it")
        // The next page of the guest's.
        from = Int((address / DirtyLog.pageSize + 1) * DirtyLog.pageSize - place.start)
      }
    }
    unsafe memset(bitmap, 0, FuzzMemory.bitmapBytes)
  }

  /// Ends the process if a canary or what only may be read has changed, which holds while the guest writes, too.
  func requireUntouched() {
    var from = 0
    for (i, place) in places.enumerated() where place.access == .readWrite {
      require(from..<offsets[i], "a race")
      from = offsets[i] + Int(place.size)
    }
    require(from..<length, "a race")
  }

  private func require(_ range: Range<Int>, _ step: StaticString) {
    let same = unsafe cfuzzer_first_difference(file + range.lowerBound, image + range.lowerBound, range.count)
    if same == range.count { return }
    let at = range.lowerBound + same
    for (i, place) in places.enumerated() where at >= offsets[i] && at < offsets[i] + Int(place.size) {
      let address = place.start + UInt64(at - offsets[i])
      Oracle.fail("\(step) has written to 0x\(String(address, radix: 16)), which it had no right to")
    }
    Oracle.fail("\(step) has written outside of guest memory, to byte \(at) of the file")
  }
}
