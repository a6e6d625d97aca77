import Virtio

/// What is left to do for a message after the session's state has taken it in.
enum SessionAction {
  /// Nothing; success.
  case none
  /// To answer with a number.
  case value(UInt64)
  /// To tell the device about features accepted anew.
  case featuresAccepted
  /// To move to another snapshot of guest memory, which the state takes over only when the device has.
  case changeMemory(GuestMemory)
  /// To tell the device about a vring, if it runs.
  case vringChanged(Int)
  /// To stop a vring and answer with where it stands.
  case stopVring(Int)
  /// To answer with a piece of the configuration space.
  case readConfiguration(ConfigurationPayload)
}
