/// The messages that a back-end sends on the back-channel (vhost-user, Back-end message types).
package enum BackendRequest: UInt32, CaseIterable, Sendable, CustomStringConvertible {
  case iotlbMessage = 1
  case configurationChange = 2
  case vringHostNotifier = 3
  case vringCall = 4
  case vringError = 5
  case sharedObjectAdd = 6
  case sharedObjectRemove = 7
  case sharedObjectLookup = 8
  case sharedMemoryMap = 9
  case sharedMemoryUnmap = 10

  /// The specification's name with the number: `BACKEND_CONFIG_CHANGE_MSG (2)`.
  package var description: String { "\(BackendRequest.names[Int(rawValue) - 1]) (\(rawValue))" }

  /// The same for any number: `back-end request 77` when the specification knows none.
  package static func name(of rawValue: UInt32) -> String {
    BackendRequest(rawValue: rawValue)?.description ?? "back-end request \(rawValue)"
  }

  private static let names = [
    "BACKEND_IOTLB_MSG", "BACKEND_CONFIG_CHANGE_MSG", "BACKEND_VRING_HOST_NOTIFIER_MSG", "BACKEND_VRING_CALL",
    "BACKEND_VRING_ERR", "BACKEND_SHARED_OBJECT_ADD", "BACKEND_SHARED_OBJECT_REMOVE", "BACKEND_SHARED_OBJECT_LOOKUP",
    "BACKEND_SHMEM_MAP", "BACKEND_SHMEM_UNMAP",
  ]
}
