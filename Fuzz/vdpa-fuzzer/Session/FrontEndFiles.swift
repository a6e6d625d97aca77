internal import CFuzzer
internal import CLinux
internal import Glibc
internal import SystemPackage
internal import VDPA

@testable internal import VhostUser

/// The files that a front-end has for a session, of the right kind and of every wrong one.
final class FrontEndFiles {
  /// What a descriptor is.
  enum Kind: UInt8, CaseIterable {
    /// What the request wants.
    case right
    case eventFD, memory, smallMemory, readingEnd, writingEnd, socket, deadSocket, device
  }

  /// Guest memory, a dirty log and an in-flight record, one after the other.
  let memory: OwnedFD
  /// The front-end's ends of what it has sent.
  private var kept: [OwnedFD] = []
  /// Its end of the back-channel.
  private(set) var backChannel: OwnedFD?
  private var small: OwnedFD?
  private(set) var eventFDs: [OwnedFD] = []

  init() { memory = FrontEndFiles.memory(pages: FrontEndMemory.pages) }

  /// A descriptor to send.
  func make(_ kind: Kind, for request: FrontendRequest?, loads: Bool) -> OwnedFD {
    switch kind {
    case .right: return right(for: request, loads: loads)
    case .eventFD:
      let file = FrontEndFiles.get { try EventFD.make() }
      eventFDs.append(file)
      return file
    case .memory: return memory
    case .smallMemory:
      let file = small ?? FrontEndFiles.memory(pages: 1)
      small = file
      return file
    case .readingEnd, .writingEnd:
      let (reading, writing) = FrontEndFiles.get { try FileDescriptor.pipe() }
      let ends = [OwnedFD(adopting: reading), OwnedFD(adopting: writing)]
      let isReading = kind == .readingEnd
      if isReading { _ = try? writing.writeAll([1, 2, 3, 4]) }
      kept.append(ends[isReading ? 1 : 0])
      return ends[isReading ? 0 : 1]
    case .socket:
      let (own, other) = FrontEndFiles.pair()
      kept.append(own)
      return other
    case .deadSocket: return FrontEndFiles.pair().1
    case .device:
      return FrontEndFiles.get {
        OwnedFD(adopting: try FileDescriptor.open(FilePath("/dev/zero"), .readWrite, options: .closeOnExec))
      }
    }
  }

  private func right(for request: FrontendRequest?, loads: Bool) -> OwnedFD {
    switch request {
    case .setMemoryTable, .addMemoryRegion, .removeMemoryRegion, .setLogBase, .setInflightFD: return memory
    case .setBackendRequestFD, .gpuSetSocket:
      let (own, other) = FrontEndFiles.pair()
      backChannel = own
      return other
    case .setDeviceStateFD:
      let end = make(loads ? .readingEnd : .writingEnd, for: nil, loads: loads)
      // The state of a device to load is whole.
      if loads { kept.removeLast() }
      return end
    default: return make(.eventFD, for: request, loads: loads)
    }
  }

  /// Closes the ends of what was sent, but for the back-channel.
  func closeKept() { kept = [] }

  /// Whether somebody has the memory mapped, which then nobody can any more.
  func isMapped() -> Bool {
    [memory, small].compactMap(\.self).contains { file in
      let result = cfuzzer_is_mapped(file.rawValue)
      Oracle.require(result >= 0, "a memory file cannot be sealed: \(Errno(rawValue: -result))")
      return result == 1
    }
  }

  /// The front-end's end, which never blocks it, and the other.
  static func pair() -> (OwnedFD, OwnedFD) {
    var (first, second): (CInt, CInt) = (-1, -1)
    let result = unsafe clinux_socketpair(&first, &second)
    Oracle.require(result == 0, "there are no sockets left: \(Errno(rawValue: -result))")
    let own = OwnedFD(adopting: FileDescriptor(rawValue: first))
    try? StreamSocket.setNonBlocking(own)
    return (own, OwnedFD(adopting: FileDescriptor(rawValue: second)))
  }

  private static func memory(pages: Int) -> OwnedFD {
    let descriptor = unsafe clinux_memfd("front-end")
    Oracle.require(descriptor >= 0, "there are no descriptors left: \(Errno(rawValue: -descriptor))")
    Oracle.require(ftruncate(descriptor, off_t(pages * 4096)) == 0, "there is no memory left")
    return OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
  }

  private static func get<Value>(_ make: () throws -> Value) -> Value {
    do {
      return try make()
    } catch {
      Oracle.fail("there are no descriptors left: \(error)")
    }
  }
}

/// Where what is in a front-end's memory file: the rings of a guest, a log, an in-flight record.
enum FrontEndMemory {
  static let pages = 20
  static let guestBase: UInt64 = 0x1_0000
  static let userBase: UInt64 = 0x7f00_0001_0000
  /// A quarter of the guest's memory, with one ring.
  static let quarter: UInt64 = 0x4000
  static let size = 4 * quarter
  static let log = LogPayload(size: 0x1000, offset: size)
  static let inflight = InflightPayload(size: 0x3000, offset: size + 0x1000, queues: 4, queueSize: 64)

  /// All of the guest's memory, or a quarter.
  static func region(_ number: Int?) -> MemoryRegionPayload {
    let offset = UInt64(number ?? 0) * quarter
    return MemoryRegionPayload(
      guestAddress: guestBase + offset, size: number == nil ? size : quarter, userAddress: userBase + offset,
      mapOffset: offset)
  }

  /// A ring, as the front-end or as the guest sees it.
  static func ring(_ index: Int, byGuest: Bool) -> VringAddressPayload {
    let base = (byGuest ? guestBase : userBase) + UInt64(index) * quarter
    return VringAddressPayload(
      index: UInt32(index), descriptor: base, used: base + 0x2000, available: base + 0x1000,
      log: guestBase + UInt64(index) * quarter + 0x2000)
  }
}
