import CLinux
import Glibc
import SystemPackage
package import VDPA
package import VhostUser
package import Virtio

/// A guest's memory in a memfd, with the rings of its queue pairs in it and the driver that uses them.
package final class Guest {
  package static let guestBase: UInt64 = 0x4000_0000
  package static let userBase: UInt64 = 0x7f00_0000_0000
  package static let bufferLength: UInt32 = 2048

  package let file: OwnedFD
  package let size: UInt64
  package let format: RingLayout.Format
  /// Descriptors a ring.
  package let ringSize: Int
  /// What its driver accepts.
  package let features: Features
  /// The same memory, mapped here. The rings point into it.
  private let memory: GuestMemory
  package let rings: [Ring]
  /// Done over and over while a device is waited for.
  package var whileWaiting: () throws -> Void = {}

  /// - Parameters:
  ///   - queues: Queue pairs.
  ///   - features: What its driver accepts beyond mergeable buffers and the ring's format.
  ///   - start: The position at which its rings start; nil for the beginning.
  ///   - file: Its memory file, which becomes as large as it has to be; nil for a memfd.
  package init(
    queues: Int = 1, format: RingLayout.Format = .split, ringSize: Int = 64, features: Features = [],
    startingAt start: UInt16? = nil, file: OwnedFD? = nil
  ) throws {
    let places = Places(try RingLayout(format, size: ringSize))
    let size = UInt64(2 * queues) * places.stride
    let file = try file ?? Guest.makeMemory(size: size)
    guard ftruncate(file.rawValue, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
    let region = try MemoryRegion(guestAddress: Guest.guestBase, size: size, userAddress: Guest.userBase, fileOffset: 0)
    let memory = try GuestMemory.table([(region, file.descriptor)])
    var accepted = features.union([.version1, .netMergeableBuffers])
    if format == .packed { accepted.insert(.packedRing) }
    var rings: [Ring] = []
    for index in 0..<2 * queues {
      rings.append(try Ring(index, places, in: memory, features: accepted, startingAt: start))
    }
    self.file = file
    self.size = size
    self.format = format
    self.ringSize = ringSize
    self.features = accepted
    self.memory = memory
    self.rings = rings
  }

  /// A memory file.
  package static func makeMemory(size: UInt64) throws -> OwnedFD {
    let descriptor = unsafe clinux_memfd("guest")
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    let file = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    guard ftruncate(file.rawValue, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
    return file
  }

  /// Takes memory back from whoever shares it: all behind that offset.
  package func truncate(to offset: UInt64) throws {
    guard ftruncate(file.rawValue, off_t(offset)) == 0 else { throw Errno(rawValue: errno) }
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

  /// SET_VRING_NUM, SET_VRING_BASE and SET_VRING_ADDR.
  ///
  /// - Parameter position: What SET_VRING_BASE says; nil for where the ring started.
  package func describe(_ ring: Ring, to frontEnd: RawFrontEnd, at position: UInt32? = nil) {
    let index = UInt32(ring.index)
    frontEnd.send(.setVringNum, VringStatePayload(index: index, number: UInt32(ringSize)).encoded)
    frontEnd.send(
      .setVringBase, VringStatePayload(index: index, number: position ?? ring.position(after: 0)).encoded)
    frontEnd.send(.setVringAddress, ring.addresses.encoded)
  }

  /// Starts a ring.
  ///
  /// - Parameter position: What SET_VRING_BASE says; nil for where the ring started.
  package func start(_ ring: Ring, with frontEnd: RawFrontEnd, at position: UInt32? = nil) {
    let index = UInt32(ring.index)
    let file = VringFilePayload(index: index, hasDescriptor: true).encoded
    describe(ring, to: frontEnd, at: position)
    frontEnd.send(.setVringCall, file, descriptors: [ring.call.rawValue])
    frontEnd.send(.setVringError, file, descriptors: [ring.error.rawValue])
    frontEnd.send(.setVringKick, file, descriptors: [ring.kick.rawValue])
    frontEnd.send(.setVringEnable, VringStatePayload(index: index, number: 1).encoded)
  }

  /// Everything that a front-end does until packets flow.
  ///
  /// - Parameter positions: What SET_VRING_BASE says for each ring; nil for where they started.
  package func run(with frontEnd: RawFrontEnd, at positions: [UInt32]? = nil) throws {
    try frontEnd.negotiate(features: features)
    share(with: frontEnd)
    for ring in rings { start(ring, with: frontEnd, at: positions?[ring.index]) }
    frontEnd.send(.setStatus, bytes(0x0f))
    // An answer means that all before has been taken in.
    _ = try frontEnd.ask(.getStatus)
  }

  /// Makes a ring empty again, where it started, with all its buffers: the device has let go of it.
  package func renew(_ ring: Ring) {
    ring.renew(features: features)
    _ = EventFD.drain(ring.kick)
    _ = EventFD.drain(ring.error)
  }

  // MARK: Packets

  /// Sends a packet on a queue pair that gives it back; what comes back.
  ///
  /// - Parameter isIndirect: Whether the buffers, in several pieces, are in tables.
  /// - Throws: When nothing has come back after ten seconds.
  package func exchange(_ payload: [UInt8], pair: Int = 0, isIndirect: Bool = false) throws -> [UInt8] {
    let (receive, transmit) = (rings[2 * pair], rings[2 * pair + 1])
    let empty = try require(receive.takeBuffer(), "no buffer is left")
    let full = try require(transmit.takeBuffer(), "no buffer is left")
    let packet = Array(repeating: 0, count: NetHeader.modernLength) + payload
    write(packet, at: full)
    // The header apart, and of the packet to come its first bytes too.
    let (head, length) = (UInt32(NetHeader.modernLength), UInt32(packet.count))
    post(
      receive, Guest.pieces(empty, Guest.bufferLength, isIndirect ? 13 : nil, isWritable: true), buffer: empty,
      isIndirect: isIndirect)
    post(
      transmit, Guest.pieces(full, length, isIndirect ? head : nil, isWritable: false), buffer: full,
      isIndirect: isIndirect)
    let received = try require(try take(from: receive), "no packet came back on pair \(pair)")
    _ = try require(try take(from: transmit), "the packet sent on pair \(pair) was not returned")
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
    let readable = try require(ring.takeBuffer(), "no buffer is left")
    let writable = try require(ring.takeBuffer(), "no buffer is left")
    write(bytes, at: readable)
    post(
      ring,
      [
        .init(address: readable, length: UInt32(bytes.count), isWritable: false),
        .init(address: writable, length: UInt32(room), isWritable: true),
      ], buffer: writable)
    _ = try require(try take(from: ring), "the request on ring \(index) was not given back")
    ring.returnBuffer(readable)
    return read(writable, count: room)
  }

  /// A buffer in one piece, or cut in two.
  private static func pieces(
    _ address: UInt64, _ length: UInt32, _ cut: UInt32?, isWritable: Bool
  ) -> [DriverRing.Piece] {
    let cut = cut ?? length
    let first = DriverRing.Piece(address: address, length: cut, isWritable: isWritable)
    if cut == length { return [first] }
    return [first, .init(address: address + UInt64(cut), length: length - cut, isWritable: isWritable)]
  }

  /// Makes a chain available and kicks if the device wants it.
  package func post(_ ring: Ring, _ pieces: [DriverRing.Piece], buffer: UInt64, isIndirect: Bool = false) {
    guard let head = ring.driver.add(pieces, isIndirect: isIndirect) else { return }
    ring.buffers[head] = buffer
    if ring.driver.publish() { EventFD.signal(ring.kick) }
  }

  /// Makes a buffer of a ring available that a packet can be written to; where it is.
  @discardableResult
  package func postEmpty(_ ring: Ring, length: UInt32 = Guest.bufferLength) throws -> UInt64 {
    let buffer = try require(ring.takeBuffer(), "no buffer is left")
    post(ring, [.init(address: buffer, length: length, isWritable: true)], buffer: buffer)
    return buffer
  }

  /// Makes a packet available.
  package func postPacket(_ ring: Ring, _ payload: [UInt8]) throws {
    let buffer = try require(ring.takeBuffer(), "no buffer is left")
    let packet = Array(repeating: 0, count: NetHeader.modernLength) + payload
    write(packet, at: buffer)
    post(ring, [.init(address: buffer, length: UInt32(packet.count), isWritable: false)], buffer: buffer)
  }

  /// Takes the next chain back; nil when none comes in ten seconds.
  package func take(from ring: Ring) throws -> (address: UInt64, length: UInt32)? {
    var found: (head: UInt16, length: UInt32)?
    let deadline = ContinuousClock.now + .seconds(10)
    while found == nil {
      found = try ring.driver.collect()
      guard found != nil || ContinuousClock.now < deadline else { return nil }
      if found == nil {
        try whileWaiting()
        usleep(200)
      }
    }
    guard let found, let buffer = ring.buffers.removeValue(forKey: found.head) else { return nil }
    ring.returnBuffer(buffer)
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

  /// All that a device may write of a ring: descriptors, driver area and device area as they are now.
  package func contents(of ring: Ring) -> [UInt8] { read(ring.base, count: Int(ring.places.tables)) }

  /// Writes a table of descriptors where a ring has its tables; its address.
  package func writeTable(_ ring: Ring, _ descriptors: [RingDescriptor]) -> UInt64 {
    let address = ring.base + ring.places.tables
    write(
      descriptors.flatMap { descriptor in
        let (flags, link) = (UInt64(descriptor.flags), UInt64(descriptor.link))
        return bytes(descriptor.address)
          + bytes(UInt64(descriptor.length) | (format == .split ? flags << 32 | link << 48 : link << 32 | flags << 48))
      }, at: address)
    return address
  }
}
