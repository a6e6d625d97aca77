import Control
import Logging
import NIOCore
import NIOPosix

/// A client's connection. It has one request at a time: the next one is looked at, and more is read, when the client has the
/// answer, so that whoever floods or does not listen waits for itself.
///
/// Everything here runs on the connection's loop.
final class Connection: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private static let lineEnd = UInt8(ascii: "\n")

  private let desk: RequestDesk
  private let loop: any EventLoop
  private var context: ChannelHandlerContext?
  private var peer: Peer?
  /// What has come and was not looked at yet, and how much of it has no line's end.
  private var buffer = ByteBuffer()
  private var searched = 0
  /// A line is being carried out or answered, or it is not known yet whether the peer may be here.
  private var isBusy = true
  /// The channel has asked for more while the connection was busy.
  private var wantsRead = false
  /// No more comes.
  private var hasEnded = false
  /// Ends the connection when the peer keeps it waiting.
  private var patience: Scheduled<Void>?
  private(set) var lastUsed = NIODeadline.now()

  init(at desk: RequestDesk, on loop: any EventLoop) {
    (self.desk, self.loop) = (desk, loop)
  }

  /// Whether nothing is lost if it is closed.
  var isIdle: Bool { !isBusy && buffer.readableBytes == 0 }

  func close() { context?.close(promise: nil) }

  // MARK: Its life

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelActive(context: ChannelHandlerContext) {
    do {
      try desk.enter(self)
      // The descriptor is only looked at.
      let found = try context.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
        try Peer(of: $0)
      }
      guard let peer = found else { throw ChannelError.operationUnsupported }
      self.peer = peer
      let this = NIOLoopBound(self, eventLoop: loop)
      desk.check(peer) { [loop] isAdmitted in
        loop.execute { isAdmitted ? this.value.goOn() : this.value.turnAway(peer) }
      }
    } catch {
      end(error as? RPCError ?? .internalError("who calls cannot be told: \(error)"))
    }
  }

  private func turnAway(_ peer: Peer) {
    desk.logger.warning("the control socket was refused to \(peer)")
    end(.refused("notPermitted", "uid \(peer.user) may not use this socket: be root, its owner or in its group"))
  }

  func channelInactive(context: ChannelHandlerContext) {
    stopWaiting()
    desk.leave(self)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

  /// Tells the client why, and closes.
  private func end(_ error: RPCError) {
    isBusy = true
    buffer.clear()
    write(RequestLine.line(.null, error) + [Self.lineEnd]) { $0.close() }
  }

  // MARK: Lines

  func read(context: ChannelHandlerContext) {
    if isBusy { wantsRead = true } else { context.read() }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    buffer.writeBuffer(&bytes)
    takeLine()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case .inputClosed? = event as? ChannelEvent else { return context.fireUserInboundEventTriggered(event) }
    hasEnded = true
    takeLine()
  }

  /// Has the next line carried out, if it is there and its turn.
  private func takeLine() {
    guard !isBusy, context != nil else { return }
    if let line = nextLine() {
      stopWaiting()
      guard line.count <= desk.limits.line else { return tooLong() }
      return carryOut(line)
    }
    guard buffer.readableBytes <= desk.limits.line else { return tooLong() }
    if hasEnded { return close() }
    // From the first byte of a line on: one that comes byte by byte has no more time than another.
    if buffer.readableBytes > 0, patience == nil { wait() }
    if wantsRead {
      wantsRead = false
      context?.read()
    }
  }

  private func tooLong() { end(.invalidRequest("a line has at most \(desk.limits.line) bytes")) }

  /// The next line that is not empty, without its end.
  private func nextLine() -> [UInt8]? {
    while true {
      let fresh = buffer.readableBytesView.dropFirst(searched)
      guard let end = fresh.firstIndex(of: Self.lineEnd) else {
        searched = buffer.readableBytes
        return nil
      }
      searched = 0
      let line = buffer.readBytes(length: end - buffer.readerIndex) ?? []
      buffer.moveReaderIndex(forwardBy: 1)
      buffer.discardReadBytes()
      if !line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) { return line }
    }
  }

  private func carryOut(_ line: [UInt8]) {
    guard let peer else { return }
    isBusy = true
    let this = NIOLoopBound(self, eventLoop: loop)
    desk.work(line, for: peer) { [loop] answer in
      loop.execute {
        guard let answer else { return this.value.goOn() }
        this.value.write(answer) { $0.goOn() }
      }
    }
  }

  private func goOn() {
    isBusy = false
    lastUsed = .now()
    takeLine()
  }

  // MARK: Answers

  /// Sends an answer; `then` is called when the client's side has taken it.
  private func write(_ answer: [UInt8], then: @escaping (Connection) -> Void) {
    guard let context else { return }
    stopWaiting()
    wait()
    let buffer = context.channel.allocator.buffer(bytes: answer)
    let sent = context.eventLoop.makePromise(of: Void.self)
    sent.futureResult.assumeIsolated().whenComplete { [self] result in
      stopWaiting()
      if case .success = result { then(self) } else { close() }
    }
    context.writeAndFlush(wrapOutboundOut(buffer), promise: sent)
  }

  private func wait() {
    patience = loop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(desk.limits.stall))) { [self] in close() }
  }

  private func stopWaiting() {
    patience?.cancel()
    patience = nil
  }
}
