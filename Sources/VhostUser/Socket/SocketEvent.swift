public import VDPA
public import Virtio

/// What happens on a vhost-user socket.
public enum SocketEvent: Sendable {
  /// A front-end has connected.
  case connected
  /// A front-end was turned away; the reason says why.
  case connectionRefused(VhostUserError)
  /// A message was refused; the connection goes on if the front-end waits for answers.
  case refused(VhostUserError)
  /// The front-end accepted features and, before that, protocol features.
  case featuresNegotiated(Features, ProtocolFeatures)
  /// Guest memory changed; the number of its regions.
  case memoryChanged(regions: Int)
  /// A vring was started, stopped, enabled or disabled, or got new descriptors.
  case vring(index: Int, isStarted: Bool, isEnabled: Bool)
  /// The device serves the rings from now on.
  case ready
  /// The device no longer serves the rings.
  case notReady(reason: String)
  /// A vring was found broken and is no longer served.
  case vringBroken(index: Int, reason: String)
  /// Requests of a vring fail, which is served all the same; told now and then, not for each request.
  case requestsFail(index: Int, reason: String)
  /// Another device serves the rings from now on, or will.
  case switched(from: DeviceHandle, to: DeviceHandle)
  /// A vring has had something to be done for so long, and its device has done nothing of it.
  case stalled(index: Int, milliseconds: Int)
  /// A device could not say what it had done of a vring when it failed: so many chains, at most, are served once more.
  case requestsRepeated(index: Int, atMost: Int)
  /// A device has failed, and another one serves the rings from now on, or will.
  case failedOver(from: DeviceHandle, to: DeviceHandle, reason: VDPAError)
  /// The device has failed.
  case deviceFailed(VDPAError)
  /// The front-end has gone, and the device is closed.
  case disconnected(VhostUserError)
}
