import VDPA
import Virtio

extension Session {
  /// Sends a request of this side, if it was negotiated and the device is not suspended; otherwise nothing is sent (vhost-user,
  /// Suspended device state).
  ///
  /// - Parameter completion: Called with the answer; nil when none is wanted.
  func sendBack(_ message: BackendMessage, completion: BackChannel.Completion? = nil) {
    let protocolState = state.value.protocolState
    guard let rule = BackendRule.table[message.request], let channel = state.value.backChannel,
      rule.refusal(accepted: protocolState.accepted ?? [], protocolFeatures: protocolState.protocolFeatures) == nil,
      !protocolState.isSuspended
    else {
      completion?(nil)
      return
    }
    // Where answers were not negotiated none comes.
    let isAnswered = message.request == .sharedObjectLookup || protocolState.protocolFeatures.contains(.replyAck)
    channel.send(message, completion: isAnswered ? completion : nil)
    if !isAnswered { completion?(nil) }
  }

  /// Uses another socket for requests of this side.
  func openBackChannel(_ socket: OwnedFD) throws(VhostUserError) {
    guard try InheritedSocket.kind(of: socket) == .connected else {
      throw VhostUserError(.wrongDescriptor, "the back-channel is a listening socket")
    }
    state.value.backChannel?.close()
    let channel = BackChannel(socket, on: loop, log: log)
    state.value.backChannel = channel
    channel.start()
  }

  // MARK: Shared objects

  /// Tells the front-end of an object. Nothing is told of what has no UUID.
  func tell(of uuid: [UInt8], _ message: (SharedObjectPayload) -> BackendMessage) {
    guard uuid.count == SharedObjectPayload.byteCount else { return }
    sendBack(message(SharedObjectPayload(bytes: uuid)))
  }

  /// Asks the front-end for an object, and hands it to the device.
  func lookUp(_ uuid: [UInt8]) {
    guard uuid.count == SharedObjectPayload.byteCount else { return found(uuid, nil) }
    sendBack(.sharedObjectLookup(SharedObjectPayload(bytes: uuid))) { [self] answer in
      // With a number other than 0 there is none, whatever came along.
      let isThere = answer?.payload == [UInt8](repeating: 0, count: 8)
      found(uuid, isThere ? answer?.descriptors.first : nil)
    }
  }

  private func found(_ uuid: [UInt8], _ object: OwnedFD?) {
    device.sharedObjectFound(uuid, object) { [log] result in
      if case .failure(let error) = result { log.failure("\(error)") }
    }
  }

  /// Ends what was begun for the front-end that has gone.
  func closeBackChannel() {
    for watched in state.value.inbandCalls.values { loop.cancel(watched.registration) }
    state.value.inbandCalls = [:]
    state.value.backChannel?.close()
    state.value.backChannel = nil
    state.value.transfer?.cancel()
    state.value.transfer = nil
  }
}
