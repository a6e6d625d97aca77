/// The messages that a front-end sends (vhost-user, Front-end message types), served here or not.
package enum FrontendRequest: UInt32, CaseIterable, Sendable, CustomStringConvertible {
  case getFeatures = 1
  case setFeatures = 2
  case setOwner = 3
  case resetOwner = 4
  case setMemoryTable = 5
  case setLogBase = 6
  case setLogFD = 7
  case setVringNum = 8
  case setVringAddress = 9
  case setVringBase = 10
  case getVringBase = 11
  case setVringKick = 12
  case setVringCall = 13
  case setVringError = 14
  case getProtocolFeatures = 15
  case setProtocolFeatures = 16
  case getQueueNum = 17
  case setVringEnable = 18
  case sendRARP = 19
  case netSetMTU = 20
  case setBackendRequestFD = 21
  case iotlbMessage = 22
  case setVringEndian = 23
  case getConfiguration = 24
  case setConfiguration = 25
  case createCryptoSession = 26
  case closeCryptoSession = 27
  case postcopyAdvise = 28
  case postcopyListen = 29
  case postcopyEnd = 30
  case getInflightFD = 31
  case setInflightFD = 32
  case gpuSetSocket = 33
  case resetDevice = 34
  case vringKick = 35
  case getMaximumMemorySlots = 36
  case addMemoryRegion = 37
  case removeMemoryRegion = 38
  case setStatus = 39
  case getStatus = 40
  case getSharedObject = 41
  case setDeviceStateFD = 42
  case checkDeviceState = 43
  case getSharedMemoryConfiguration = 44
  case getVringBaseSkipDrain = 45

  /// The specification's name with the number: `SET_VRING_KICK (12)`.
  package var description: String { "\(FrontendRequest.names[Int(rawValue) - 1]) (\(rawValue))" }

  /// The same for any number: `request 77` when the specification knows none.
  package static func name(of rawValue: UInt32) -> String {
    FrontendRequest(rawValue: rawValue)?.description ?? "request \(rawValue)"
  }

  private static let names = [
    "GET_FEATURES", "SET_FEATURES", "SET_OWNER", "RESET_OWNER", "SET_MEM_TABLE", "SET_LOG_BASE", "SET_LOG_FD",
    "SET_VRING_NUM", "SET_VRING_ADDR", "SET_VRING_BASE", "GET_VRING_BASE", "SET_VRING_KICK", "SET_VRING_CALL",
    "SET_VRING_ERR", "GET_PROTOCOL_FEATURES", "SET_PROTOCOL_FEATURES", "GET_QUEUE_NUM", "SET_VRING_ENABLE",
    "SEND_RARP", "NET_SET_MTU", "SET_BACKEND_REQ_FD", "IOTLB_MSG", "SET_VRING_ENDIAN", "GET_CONFIG", "SET_CONFIG",
    "CREATE_CRYPTO_SESSION", "CLOSE_CRYPTO_SESSION", "POSTCOPY_ADVISE", "POSTCOPY_LISTEN", "POSTCOPY_END",
    "GET_INFLIGHT_FD", "SET_INFLIGHT_FD", "GPU_SET_SOCKET", "RESET_DEVICE", "VRING_KICK", "GET_MAX_MEM_SLOTS",
    "ADD_MEM_REG", "REM_MEM_REG", "SET_STATUS", "GET_STATUS", "GET_SHARED_OBJECT", "SET_DEVICE_STATE_FD",
    "CHECK_DEVICE_STATE", "GET_SHMEM_CONFIG", "GET_VRING_BASE_SKIP_DRAIN",
  ]
}
