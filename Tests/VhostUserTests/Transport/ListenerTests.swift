import CLinux
import Foundation
import Synchronization
import SystemPackage
import Testing
import VDPA
import VhostUser

@Suite(.timeLimit(.minutes(2)))
struct ListenerTests {
  private let folder = TemporaryFolder()
  private var path: String { folder.path("s.sock") }

  private func client(_ path: String) throws -> OwnedFD {
    let client = try StreamSocket.make()
    try StreamSocket.connect(client, to: path)
    return client
  }

  /// Starts the listener; its connections and errors as streams.
  private func start(
    _ listener: Listener, on loop: EventLoop
  ) async -> (connections: AsyncStream<OwnedFD>.Iterator, errors: AsyncStream<VhostUserError>.Iterator) {
    let (connections, connection) = AsyncStream.makeStream(of: OwnedFD.self)
    let (errors, failure) = AsyncStream.makeStream(of: VhostUserError.self)
    await loop.perform {
      do throws(VhostUserError) {
        try listener.start {
          connection.yield($0)
        } onError: {
          failure.yield($0)
        }
      } catch {
        failure.yield(error)
      }
    }
    return (connections.makeAsyncIterator(), errors.makeAsyncIterator())
  }

  @Test func acceptsEachClient() async throws {
    let loop = try EventLoop(name: "test")
    let listener = try Listener(path: path, on: loop)
    let early = try client(path)
    var (connections, _) = await start(listener, on: loop)
    let first = try #require(await connections.next())
    _ = try StreamSocket.send(early, [1, 2], descriptors: [])
    #expect(try StreamSocket.receive(first, atMost: 9, descriptors: 0).bytes == [1, 2])
    // Accepted sockets do not block.
    #expect(throws: Errno.wouldBlock) { try StreamSocket.receive(first, atMost: 9, descriptors: 0) }
    let late = try client(path)
    #expect(await connections.next() != nil)
    await loop.perform { listener.stop() }
    #expect(!FileManager.default.fileExists(atPath: path))
    #expect(throws: Errno.noSuchFileOrDirectory) { try client(path) }
    await loop.perform { listener.stop() }
    loop.stop()
    withExtendedLifetime(late) {}
  }

  @Test func stopClosesTheSocket() async throws {
    let loop = try EventLoop(name: "test")
    let listener = try Listener(path: path, on: loop)
    let (other, link) = (path, folder.path("second name"))
    try FileManager.default.linkItem(atPath: other, toPath: link)
    _ = await start(listener, on: loop)
    #expect((try? client(link)) != nil)
    await loop.perform { listener.stop() }
    #expect(throws: Errno.connectionRefused) { try client(link) }
    loop.stop()
  }

  /// The operator is told once, and the client, who waits in the queue, is served later.
  @Test(arguments: [Errno.tooManyOpenFiles, .tooManyOpenFilesInSystem]) func runsOutOfDescriptors(errno: Errno)
    async throws
  {
    let loop = try EventLoop(name: "test")
    let calls = Mutex(0)
    let listener = try Listener(path: path, on: loop) { socket in
      let call = calls.withLock { calls in
        calls += 1
        return calls
      }
      return call <= 3 ? -errno.rawValue : clinux_accept(socket)
    }
    var (connections, errors) = await start(listener, on: loop)
    let waiting = try client(path)
    #expect(await errors.next()?.errno == errno)
    #expect(await connections.next() != nil)
    // Three failures, the success, and the look that found nothing more.
    await loop.perform {}
    #expect(calls.withLock { $0 } == 5)
    await loop.perform { listener.stop() }
    loop.stop()
    withExtendedLifetime(waiting) {}
  }

  /// With a client in the queue the socket stays readable: looking at it in every turn of the loop would be a spin.
  @Test func doesNotSpinWithoutDescriptors() async throws {
    let loop = try EventLoop(name: "test")
    let calls = Mutex(0)
    let listener = try Listener(path: path, on: loop) { _ in
      calls.withLock { $0 += 1 }
      return -EMFILE
    }
    var (_, errors) = await start(listener, on: loop)
    let waiting = try client(path)
    #expect(await errors.next() != nil)
    let turns = 1000
    for _ in 0..<turns { await loop.perform {} }
    #expect(calls.withLock { $0 } < turns / 2)
    await loop.perform { listener.stop() }
    loop.stop()
    withExtendedLifetime(waiting) {}
  }

  @Test func stopWhileWaitingForDescriptors() async throws {
    let loop = try EventLoop(name: "test")
    let calls = Mutex(0)
    let listener = try Listener(path: path, on: loop) { _ in
      calls.withLock { $0 += 1 }
      return -EMFILE
    }
    var (_, errors) = await start(listener, on: loop)
    let waiting = try client(path)
    #expect(await errors.next() != nil)
    await loop.perform { listener.stop() }
    let before = calls.withLock { $0 }
    await withCheckedContinuation { continuation in loop.run(after: 250) { continuation.resume() } }
    #expect(calls.withLock { $0 } == before)
    loop.stop()
    withExtendedLifetime(waiting) {}
  }

  /// A client that has gone before it was accepted costs nobody else.
  @Test func abortedClientIsPassedOver() async throws {
    let loop = try EventLoop(name: "test")
    let calls = Mutex(0)
    let listener = try Listener(path: path, on: loop) { socket in
      let isFirst = calls.withLock { calls in
        calls += 1
        return calls == 1
      }
      return isFirst ? -ECONNABORTED : clinux_accept(socket)
    }
    var (connections, _) = await start(listener, on: loop)
    let waiting = try client(path)
    #expect(await connections.next() != nil)
    await loop.perform { listener.stop() }
    loop.stop()
    withExtendedLifetime(waiting) {}
  }

  @Test func inheritedSocketKeepsItsFile() async throws {
    let loop = try EventLoop(name: "test")
    let (socket, _) = try SocketFile.listen(at: path)
    let listener = try Listener(adopting: try socket.duplicate(), on: loop)
    var (connections, _) = await start(listener, on: loop)
    let waiting = try client(path)
    #expect(await connections.next() != nil)
    await loop.perform { listener.stop() }
    #expect(FileManager.default.fileExists(atPath: path) && listener.file == nil)
    loop.stop()
    withExtendedLifetime((socket, waiting)) {}
  }

  @Test func connectedSocketIsNoListener() throws {
    let loop = try EventLoop(name: "test")
    let (own, _) = try ConnectionHarness.pair()
    let error = #expect(throws: VhostUserError.self) { try Listener(adopting: own, on: loop) }
    #expect(error?.code == .wrongDescriptor)
    loop.stop()
  }
}
