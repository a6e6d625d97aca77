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
