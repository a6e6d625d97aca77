import VDPA
import Virtio

/// What is left to do for a message after the session's state has taken it in.
enum SessionAction {
  /// Nothing; success.
  case none
  /// To answer with a number.
  case value(UInt64)
  /// To answer with a new record of requests in flight.
  case inflightRecord(InflightPayload, OwnedFD)
  /// To tell the device about features accepted anew.
  case featuresAccepted
  /// To move to another snapshot of guest memory, which the state takes over only when the device has; the answer is a
  /// payload where one is given.
  case changeMemory(GuestMemory, answer: [UInt8]?)
  /// The same for what the guest's IOMMU makes of guest memory.
  case changeTranslations(GuestMemory)
  /// To tell the device about a vring, if it runs.
  case vringChanged(Int)
  /// To stop a vring and answer with where it stands.
  case stopVring(Int)
  /// To answer with a piece of the configuration space.
  case readConfiguration(ConfigurationPayload)
  /// To write a piece of the configuration space.
  case writeConfiguration(ConfigurationPayload)
  /// To close the device; all rings have been stopped.
  case reset
  /// To set the MTU.
  case setMTU(UInt16)
  /// To tell the network where the guest is.
  case announce(MACAddress)
  /// To have the device note its writes where the state says.
  ///
  /// - Parameter answer: What to answer; nil for success.
  case changeLog(answer: UInt64?)
  /// To use a socket for requests of this side.
  case openBackChannel(OwnedFD)
  /// To pass on an in-band kick.
  case kick(Int)
  /// To move the device's own state through a pipe.
  case transferState(DeviceStatePayload.Direction, OwnedFD)
  /// To answer whether the device's own state has arrived.
  case checkState
  /// To answer with an object that others may share.
  case findObject(SharedObjectPayload)
  /// To prepare for pages that arrive late, and answer with the descriptor by which the front-end brings them.
  case advisePostcopy
  /// To answer that all pages have arrived.
  case endPostcopy(PageFaults)
}
