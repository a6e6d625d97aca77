import CLinux
import Glibc
import SystemPackage
package import VDPA
package import VhostUser
package import Virtio

/// A guest's memory in a memfd, with the rings of its queue pairs in it and the driver that uses them.
///
/// Every ring has 64 KiB: the descriptor table at 0, the available ring at 8 KiB, the used ring at 16 KiB and buffers from
/// 32 KiB on.
package final class Guest {
  package static let guestBase: UInt64 = 0x4000_0000
  package static let userBase: UInt64 = 0x7f00_0000_0000
  package static let ringSize = 64
  package static let bufferLength: UInt32 = 2048

  /// One ring with its eventfds.
  package final class Ring {
    package let index: Int
    package let base: UInt64
    /// What the driver kicks; a front-end may exchange it.
    package var kick: OwnedFD
    package let call: OwnedFD
    package let error: OwnedFD
    package let area: SplitRingArea
    package var driver: DriverRing
    /// The buffers that are with the device, by head.
    package var buffers: [UInt16: UInt64] = [:]
    fileprivate var free: [UInt64]

    fileprivate init(_ index: Int, in memory: GuestMemory) throws {
      self.index = index
      base = Guest.guestBase + UInt64(index) << 16
      kick = try EventFD.make()
      call = try EventFD.make()
      error = try EventFD.make()
      area = try SplitRingArea(
        size: Guest.ringSize, descriptor: base, avail: base + 0x2000, used: base + 0x4000,
        memory: memory.addressMap.view)
      driver = DriverRing(.split(area), features: [])
      free = Ring.allBuffers(base)
    }

    fileprivate static func allBuffers(_ base: UInt64) -> [UInt64] {
      (0..<16).map { base + 0x8000 + $0 * UInt64(Guest.bufferLength) }
    }

    /// SET_VRING_ADDR.
    package var addresses: VringAddressPayload {
      let user = Guest.userBase + (base - Guest.guestBase)
      return VringAddressPayload(
        index: UInt32(index), descriptor: user, used: user + 0x4000, available: user + 0x2000)
    }
  }

  package let file: OwnedFD
  package let size: UInt64
  /// The same memory, mapped here. The rings point into it.
  private let memory: GuestMemory
  package let rings: [Ring]

  package init(queues: Int = 1) throws {
    let descriptor = unsafe clinux_memfd("guest")
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    let file = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    let size = UInt64(2 * queues) << 16
    guard ftruncate(file.rawValue, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
    let region = try MemoryRegion(guestAddress: Guest.guestBase, size: size, userAddress: Guest.userBase, fileOffset: 0)
    let memory = try GuestMemory.table([(region, file.descriptor)])
    var rings: [Ring] = []
    for index in 0..<2 * queues { rings.append(try Ring(index, in: memory)) }
    self.file = file
    self.size = size
    self.memory = memory
    self.rings = rings
  }

  /// All of it as one region.
  package var region: MemoryRegionPayload {
    MemoryRegionPayload(guestAddress: Guest.guestBase, size: size, userAddress: Guest.userBase, mapOffset: 0)
  }

  // MARK: Setting up

  /// Shares the memory by ADD_MEM_REG or SET_MEM_TABLE.
  package func share(with frontEnd: RawFrontEnd, inSlots: Bool = true) {
    if inSlots {
      frontEnd.send(.addMemoryRegion, SingleRegionPayload(region: region).encoded, descriptors: [file.rawValue])
    } else {
      frontEnd.send(.setMemoryTable, MemoryTablePayload(regions: [region]).encoded, descriptors: [file.rawValue])
    }
  }

  /// Starts a ring at `position`.
  package func start(_ ring: Ring, with frontEnd: RawFrontEnd, at position: UInt32 = 0) {
    let index = UInt32(ring.index)
    let file = VringFilePayload(index: index, hasDescriptor: true).encoded
    frontEnd.send(.setVringNum, VringStatePayload(index: index, number: UInt32(Guest.ringSize)).encoded)
    frontEnd.send(.setVringBase, VringStatePayload(index: index, number: position).encoded)
    frontEnd.send(.setVringAddress, ring.addresses.encoded)
    frontEnd.send(.setVringCall, file, descriptors: [ring.call.rawValue])
    frontEnd.send(.setVringError, file, descriptors: [ring.error.rawValue])
    frontEnd.send(.setVringKick, file, descriptors: [ring.kick.rawValue])
    frontEnd.send(.setVringEnable, VringStatePayload(index: index, number: 1).encoded)
  }

  /// Everything that a front-end does until packets flow.
  package func run(with frontEnd: RawFrontEnd) throws {
    try frontEnd.negotiate()
    share(with: frontEnd)
    for ring in rings { start(ring, with: frontEnd) }
    frontEnd.send(.setStatus, bytes(0x0f))
    // An answer means that all before has been taken in.
    _ = try frontEnd.ask(.getStatus)
  }

  /// Makes a ring empty again, at position 0, with all its buffers: the device has let go of it.
  package func renew(_ ring: Ring) {
    ring.driver = DriverRing(ring.driver.memory, features: [])
    ring.buffers = [:]
    ring.free = Ring.allBuffers(ring.base)
    _ = EventFD.drain(ring.kick)
    _ = EventFD.drain(ring.error)
  }

  // MARK: Packets

  /// Sends a packet on a queue pair that gives it back; what comes back.
  ///
  /// - Throws: When nothing has come back after ten seconds.
  package func exchange(_ payload: [UInt8], pair: Int = 0) throws -> [UInt8] {
    let (receive, transmit) = (rings[2 * pair], rings[2 * pair + 1])
    let empty = try require(receive.free.popLast(), "no buffer is left")
    let full = try require(transmit.free.popLast(), "no buffer is left")
    post(receive, [.init(address: empty, length: Guest.bufferLength, isWritable: true)], buffer: empty)
    let packet = Array(repeating: 0, count: NetHeader.modernLength) + payload
    write(packet, at: full)
    post(transmit, [.init(address: full, length: UInt32(packet.count), isWritable: false)], buffer: full)
    let received = try require(try wait(for: receive), "no packet came back on pair \(pair)")
    _ = try require(try wait(for: transmit), "the packet sent on pair \(pair) was not returned")
    return Array(read(received.address, count: Int(received.length)).dropFirst(NetHeader.modernLength))
  }

  // MARK: Requests

  /// Gives the device a request and waits for its end.
  ///
  /// - Parameters:
  ///   - bytes: What it reads; ``bufferLength`` at most.
  ///   - room: How many bytes it may write; ``bufferLength`` at most.
  /// - Returns: All of the room, whatever it has written.
  /// - Throws: When it has not been given back after ten seconds.
  package func request(_ bytes: [UInt8], room: Int, ring index: Int = 0) throws -> [UInt8] {
    let ring = rings[index]
    let readable = try require(ring.free.popLast(), "no buffer is left")
    let writable = try require(ring.free.popLast(), "no buffer is left")
    write(bytes, at: readable)
    post(
      ring,
      [
        .init(address: readable, length: UInt32(bytes.count), isWritable: false),
        .init(address: writable, length: UInt32(room), isWritable: true),
      ], buffer: writable)
    _ = try require(try wait(for: ring), "the request on ring \(index) was not given back")
    ring.free.append(readable)
    return read(writable, count: room)
  }

  /// Makes a chain available and kicks if the device wants it.
  package func post(_ ring: Ring, _ pieces: [DriverRing.Piece], buffer: UInt64) {
    guard let head = ring.driver.add(pieces) else { return }
    ring.buffers[head] = buffer
    if ring.driver.publish() { EventFD.signal(ring.kick) }
  }

  /// Takes the next chain back; nil when none comes in ten seconds.
  private func wait(for ring: Ring) throws -> (address: UInt64, length: UInt32)? {
    var found: (head: UInt16, length: UInt32)?
    let deadline = ContinuousClock.now + .seconds(10)
    while found == nil {
      found = try ring.driver.collect()
      guard found != nil || ContinuousClock.now < deadline else { return nil }
      if found == nil { usleep(200) }
    }
    guard let found, let buffer = ring.buffers.removeValue(forKey: found.head) else { return nil }
    ring.free.append(buffer)
    return (buffer, found.length)
  }

  // MARK: Bytes

  /// Writes at a guest address, past the mapping: through the file.
  package func write(_ bytes: [UInt8], at address: UInt64) {
    // The buffer is the array's own.
    let written = unsafe bytes.withUnsafeBytes { buffer in
      unsafe pwrite(file.rawValue, buffer.baseAddress, buffer.count, off_t(address - Guest.guestBase))
    }
    precondition(written == bytes.count)
  }

  package func read(_ address: UInt64, count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    // The buffer is the array's own.
    let got = unsafe bytes.withUnsafeMutableBytes { buffer in
      unsafe pread(file.rawValue, buffer.baseAddress, buffer.count, off_t(address - Guest.guestBase))
    }
    precondition(got == count)
    return bytes
  }
}
