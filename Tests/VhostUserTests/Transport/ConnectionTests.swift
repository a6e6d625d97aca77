import CLinux
import Foundation
import Synchronization
import SystemPackage
import Testing
import VDPA
import VhostUser

@Suite(.timeLimit(.minutes(2)))
struct ConnectionTests {
  private let kick = wire(.setVringKick, u64(3))

  // MARK: Receiving

  @Test func byteByByteWithADescriptor() async throws {
    let harness = try await ConnectionHarness()
    let witness = try DescriptorWitness()
    for (i, byte) in kick.enumerated() {
      try harness.write([byte], descriptors: i == 0 ? try witness.copies(1) : [])
    }
    var message = await harness.message()
    #expect(message?.payload == u64(3) && message?.descriptors.count == 1)
    message = nil
    #expect(witness.areAllClosed(), "the message owned the descriptor")
    await harness.finish()
  }

  /// The descriptors of the second message stay with it, however the bytes run together.
  @Test func messagesInOneSegment() async throws {
    let harness = try await ConnectionHarness()
    let witness = try DescriptorWitness()
    try harness.write(wire(.getFeatures) + wire(.setOwner) + wire(.setVringNum, u32(1, 256)))
    try harness.write(kick, descriptors: try witness.copies(1))
    try harness.write(wire(.getStatus))
    var seen: [(UInt32, Int)] = []
    for _ in 0..<5 {
      let message = try #require(await harness.message())
      seen.append((message.header.request, message.descriptors.count))
    }
    #expect(seen.map(\.0) == [1, 3, 8, 12, 40] && seen.map(\.1) == [0, 0, 0, 1, 0])
    await harness.finish()
  }

  @Test func descriptorsInTheMiddle() async throws {
    let harness = try await ConnectionHarness()
    let witness = try DescriptorWitness()
    try harness.write(Array(kick.prefix(14)))
    try harness.write(Array(kick.dropFirst(14)), descriptors: try witness.copies(3))
    let reason = await harness.reason()
    #expect(reason?.code == .malformed && reason?.request == "SET_VRING_KICK (12)")
    #expect(witness.areAllClosed())
    #expect(try harness.read(1).bytes.isEmpty, "the peer sees the end")
    await harness.finish()
  }

  @Test(arguments: [8, 9, 32]) func manyDescriptors(count: Int) async throws {
    let harness = try await ConnectionHarness()
    let witness = try DescriptorWitness()
    try harness.write(kick, descriptors: try witness.copies(count))
    if count <= 8 {
      #expect(await harness.message()?.descriptors.count == count)
    } else {
      #expect(await harness.reason()?.code == .tooManyDescriptors)
    }
    #expect(witness.areAllClosed())
    await harness.finish()
  }

  @Test func badHeaderEnds() async throws {
    let harness = try await ConnectionHarness()
    try harness.write(wire(.getFeatures) + u32(5, 1, 1 << 20))
    #expect(await harness.message() != nil)
    #expect(await harness.reason()?.request == "SET_MEM_TABLE (5)")
    #expect(await harness.next() == nil, "nothing comes after the end")
    await harness.finish()
  }

  @Test func repliesAreForFrontEnds() async throws {
    let harness = try await ConnectionHarness(expecting: .reply)
    try harness.write(u32(1, 5, 8) + u64(9))
    #expect(await harness.message()?.payload == u64(9))
    try harness.write(wire(.getFeatures))
    #expect(await harness.reason()?.code == .malformed)
    await harness.finish()
  }

  @Test(arguments: [0, 5, 12, 15]) func peerGoes(after bytes: Int) async throws {
    let harness = try await ConnectionHarness()
    let witness = try DescriptorWitness()
    if bytes > 0 { try harness.write(Array(kick.prefix(bytes)), descriptors: try witness.copies(1)) }
    harness.hangUp()
    let reason = await harness.reason()
    #expect(reason?.code == .disconnected)
    #expect(reason?.message.contains("in the middle of a message") == (bytes > 0))
    #expect(witness.areAllClosed(), "what the unfinished message brought is closed")
    await harness.finish()
  }

  // MARK: Fairness and pausing

  /// A peer with thousands of messages waiting does not keep another one's single message from its turn.
  @Test func floodLeavesOthersTheirTurn() async throws {
    let loop = try EventLoop(name: "test")
    let order = Mutex<[Character]>([])
    let flooding = try await ConnectionHarness(loop: loop) { _, _ in order.withLock { $0.append("f") } }
    let quiet = try await ConnectionHarness(loop: loop) { _, _ in order.withLock { $0.append("q") } }
    // The loop stands still until both have written.
    let (hold, isHeld) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    loop.run {
      isHeld.signal()
      hold.wait()
    }
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async {
        isHeld.wait()
        continuation.resume()
      }
    }
    try flooding.write((0..<2000).flatMap { _ in wire(.getFeatures) })
    try quiet.write(wire(.getFeatures))
    hold.signal()
    for _ in 0..<2000 { #expect(await flooding.message() != nil) }
    #expect(await quiet.message() != nil)
    let position = order.withLock { $0.firstIndex(of: "q") } ?? .max
    #expect(position <= Connection.Limits().receivesPerWake)
    let connection = quiet.connection
    await loop.perform { connection.close(VhostUserError(.stopped, "")) }
    await flooding.finish()
  }

  @Test func pausedDeliversNothing() async throws {
    let harness = try await ConnectionHarness { connection, message in
      if message.header.request == FrontendRequest.getVringBase.rawValue { connection.pauseReading() }
    }
    let (loop, connection) = (harness.loop, harness.connection)
    try harness.write(wire(.getVringBase, u32(0, 0)) + wire(.getVringBase, u32(1, 0)) + wire(.getStatus))
    #expect(await harness.message()?.payload == u32(0, 0))
    // Answers leave while it reads nothing; several turns of the loop bring no message.
    await loop.perform { connection.send(u32(1)) }
    #expect(try harness.read(4).bytes == u32(1))
    for _ in 0..<3 { await loop.perform {} }
    await loop.perform { connection.resumeReading() }
    #expect(await harness.message()?.payload == u32(1, 0))
    await loop.perform { connection.resumeReading() }
    #expect(await harness.message()?.header.request == 40)
    await harness.finish()
  }

  /// epoll reports a hang-up whether it is wanted or not: a paused connection must not be watched at all, or the loop
  /// spins until the device has answered.
  @Test func pausedIsNotWatched() async throws {
    let harness = try await ConnectionHarness()
    let (loop, connection, number) = (harness.loop, harness.connection, harness.number)
    #expect(isWatched(number))
    await loop.perform { connection.pauseReading() }
    #expect(!isWatched(number))
    harness.hangUp()
    await loop.perform { connection.resumeReading() }
    #expect(await harness.reason()?.code == .disconnected)
    await harness.finish()
  }

  /// Whether any epoll instance of this process has the descriptor among its targets.
  private func isWatched(_ number: CInt) -> Bool {
    let folder = "/proc/self/fdinfo"
    let entries = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return entries.contains { entry in
      let text = (try? String(contentsOfFile: folder + "/" + entry, encoding: .utf8)) ?? ""
      return text.split(separator: "\n").contains { line in
        let words = line.split(separator: " ", omittingEmptySubsequences: true)
        return words.count > 1 && words[0] == "tfd:" && words[1] == "\(number)"
      }
    }
  }

  // MARK: Sending

  @Test func descriptorsGoWithTheFirstByte() async throws {
    let harness = try await ConnectionHarness()
    let (loop, connection) = (harness.loop, harness.connection)
    let witness = try DescriptorWitness()
    let copies = try witness.copies(2)
    await loop.perform {
      connection.send(u32(1, 2), descriptors: copies)
      connection.send(u32(3))
    }
    let first = try harness.read(1)
    #expect(first.descriptors.count == 2)
    let rest = try harness.read(11)
    #expect(first.bytes + rest.bytes == u32(1, 2, 3) && rest.descriptors.isEmpty)
    await harness.finish()
  }

  /// What the socket does not take at once is sent when the peer reads, complete and in order.
  @Test func slowReaderGetsEverything() async throws {
    let harness = try await ConnectionHarness()
    let (loop, connection) = (harness.loop, harness.connection)
    let witness = try DescriptorWitness()
    let copies = try witness.copies(1)
    // Large sends fill the socket's buffer; the last ones are kept here.
    let block = [UInt8](repeating: 0x5a, count: 16 << 10)
    let room = try StreamSocket.option(CInt(SO_SNDBUF), of: try #require(harness.peer))
    let count = Int(room) / block.count + 2
    await loop.perform {
      for _ in 0..<count { connection.send(block) }
      connection.send(u32(0xfeed), descriptors: copies)
    }
    let blocks = try harness.read(count * block.count)
    #expect(blocks.bytes.count == count * block.count && blocks.bytes.allSatisfy { $0 == 0x5a })
    #expect(blocks.descriptors.isEmpty)
    let last = try harness.read(4)
    #expect(last.bytes == u32(0xfeed) && last.descriptors.count == 1)
    await harness.finish()
  }

  /// A message that leaves in several pieces brings its descriptors once.
  @Test func descriptorsOfAMessageInPieces() async throws {
    let harness = try await ConnectionHarness()
    let (loop, connection) = (harness.loop, harness.connection)
    let witness = try DescriptorWitness()
    let copies = try witness.copies(1)
    let size = Int(try StreamSocket.option(CInt(SO_SNDBUF), of: try #require(harness.peer))) + (32 << 10)
    let isBlocked = await loop.perform {
      connection.send([UInt8](repeating: 1, count: size), descriptors: copies)
      return connection.isBlocked
    }
    #expect(isBlocked, "it did not fit at once")
    let received = try harness.read(size)
    #expect(received.bytes.count == size && received.descriptors.count == 1)
    await harness.finish()
  }

  @Test func readerThatNeverReadsIsDisconnected() async throws {
    let harness = try await ConnectionHarness()
    let (loop, connection) = (harness.loop, harness.connection)
    let sent = await loop.perform {
      var sent = 0
      while !connection.isClosed, sent < 64 << 20 {
        connection.send([UInt8](repeating: 0, count: 1024))
        sent += 1024
      }
      return sent
    }
    #expect(sent < 64 << 20)
    #expect(await harness.reason()?.code == .budget)
    await harness.finish()
  }

  /// Who has passed a socket on can hold a copy of it, and change its flags at any time.
  @Test func socketMadeBlockingBlocksNobody() async throws {
    let loop = try EventLoop(name: "test")
    let (own, peer) = try ConnectionHarness.pair()
    let copy = try own.duplicate()
    let connection = Connection(own, on: loop)
    let (messages, continuation) = AsyncStream.makeStream(of: RawMessage.self)
    var iterator = messages.makeAsyncIterator()
    await loop.perform {
      connection.start {
        continuation.yield($0)
      } onClose: { _ in
        continuation.finish()
      }
    }
    let flags = clinux_status_flags(copy.rawValue)
    #expect(flags & O_NONBLOCK != 0)
    #expect(clinux_set_status_flags(copy.rawValue, flags & ~O_NONBLOCK) == 0)
    _ = try StreamSocket.send(peer, wire(.getFeatures)[...], descriptors: [])
    #expect(await iterator.next()?.header.request == FrontendRequest.getFeatures.rawValue)
    await loop.perform {
      while !connection.isBlocked { connection.send([UInt8](repeating: 0, count: 4096)) }
    }
    // Readable and writable events are served, and then others.
    _ = try StreamSocket.send(peer, wire(.getFeatures)[...], descriptors: [])
    #expect(await iterator.next() != nil)
    await loop.perform { connection.close(VhostUserError(.stopped, "the test is over")) }
    loop.stop()
  }

  @Test func unreadDescriptorsAreBounded() async throws {
    let harness = try await ConnectionHarness()
    let (loop, connection) = (harness.loop, harness.connection)
    let witness = try DescriptorWitness()
    let copies = try witness.copies(8)
    let isOpenBefore = await loop.perform {
      // Fill the socket first, so that what has descriptors stays here.
      while !connection.isBlocked { connection.send([UInt8](repeating: 0, count: 4096)) }
      connection.send([1], descriptors: copies)
      connection.send([1], descriptors: copies)
      let isOpen = !connection.isClosed
      connection.send([1], descriptors: copies)
      return isOpen
    }
    #expect(isOpenBefore)
    #expect(await harness.reason()?.code == .budget)
    await harness.finish()
  }

  // MARK: Closing

  @Test func closeTellsTheFirstReasonOnce() async throws {
    let harness = try await ConnectionHarness()
    let (loop, connection) = (harness.loop, harness.connection)
    try harness.write(Array(kick.prefix(5)))
    await loop.perform {
      connection.close(VhostUserError(.stopped, "first"))
      connection.close(VhostUserError(.stopped, "second"))
      connection.send([1])
      connection.resumeReading()
    }
    guard case .closed(let reason)? = await harness.next() else {
      Issue.record("no end")
      return
    }
    #expect(reason.message == "first")
    #expect(await harness.next() == nil)
    await harness.finish()
  }

  /// A session that closes while it handles a message gets none after it, even if more wait.
  @Test func closeInAHandlerIsTheEnd() async throws {
    let count = Mutex(0)
    let harness = try await ConnectionHarness { connection, _ in
      count.withLock { $0 += 1 }
      connection.close(VhostUserError(.outOfState, "no"))
    }
    try harness.write(wire(.getFeatures) + wire(.getFeatures) + wire(.getFeatures))
    #expect(await harness.reason()?.code == .outOfState)
    for _ in 0..<3 { await harness.loop.perform {} }
    #expect(count.withLock { $0 } == 1)
    await harness.finish()
  }

  /// The socket is shut down even if somebody else still holds its descriptor.
  @Test func closeShutsDown() async throws {
    let loop = try EventLoop(name: "test")
    let (own, peer) = try ConnectionHarness.pair()
    let connection = Connection(own, on: loop)
    await loop.perform {
      connection.start { _ in
      } onClose: { _ in
      }
      connection.close(VhostUserError(.stopped, ""))
    }
    #expect(try StreamSocket.receive(peer, atMost: 1, descriptors: 0).bytes.isEmpty)
    loop.stop()
    withExtendedLifetime(own) {}
  }

  /// Nothing keeps the socket once the connection has ended, though the connection itself lives on.
  @Test func closeLetsGoOfTheSocket() async throws {
    let loop = try EventLoop(name: "test")
    let (peer, connection, held) = try {
      let (own, peer) = try ConnectionHarness.pair()
      return (peer, Connection(own, on: loop), WeakReference(own))
    }()
    await loop.perform {
      connection.start { _ in
      } onClose: { _ in
      }
    }
    #expect(held.object != nil)
    await loop.perform { connection.close(VhostUserError(.stopped, "")) }
    #expect(held.object == nil)
    loop.stop()
    withExtendedLifetime(peer) {}
  }

  /// A file that epoll cannot watch.
  @Test func failingToStartIsAnEnd() async throws {
    let loop = try EventLoop(name: "test")
    let file = unsafe clinux_memfd("not a socket")
    let connection = Connection(OwnedFD(adopting: FileDescriptor(rawValue: file)), on: loop)
    let reason = await withCheckedContinuation { continuation in
      loop.run {
        connection.start { _ in
        } onClose: {
          continuation.resume(returning: $0)
        }
      }
    }
    #expect(reason.code == .system && reason.errno == .notPermitted)
    loop.stop()
  }
}

private struct WeakReference {
  weak let object: OwnedFD?
  init(_ object: OwnedFD) { self.object = object }
}
