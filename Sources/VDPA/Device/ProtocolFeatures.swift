/// A set of vhost-user protocol feature bits (vhost-user, Protocol features).
///
/// A device says which of them it can serve, a socket which of them it offers; what both sides accept decides which
/// messages are legal.
public struct ProtocolFeatures: OptionSet, Sendable, Hashable, CustomStringConvertible {
  /// Bit n is protocol feature n.
  public let rawValue: UInt64

  /// The set whose members are the bits that are 1.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  private init(bit: UInt64) { rawValue = 1 << bit }

  /// `MQ` (0): the front-end can ask for the number of queues.
  public static let multiqueue = ProtocolFeatures(bit: 0)
  /// `LOG_SHMFD` (1): the dirty log is a shared memory file.
  public static let logSharedMemory = ProtocolFeatures(bit: 1)
  /// `RARP` (2): the back-end announces the guest after a migration.
  public static let rarp = ProtocolFeatures(bit: 2)
  /// `REPLY_ACK` (3): any message can ask for an answer.
  public static let replyAck = ProtocolFeatures(bit: 3)
  /// `MTU` (4): the front-end can set the MTU.
  public static let mtu = ProtocolFeatures(bit: 4)
  /// `BACKEND_REQ` (5): there is a back-channel.
  public static let backendRequests = ProtocolFeatures(bit: 5)
  /// `CROSS_ENDIAN` (6): rings of the other byte order.
  public static let crossEndian = ProtocolFeatures(bit: 6)
  /// `CRYPTO_SESSION` (7): crypto sessions over the socket.
  public static let cryptoSession = ProtocolFeatures(bit: 7)
  /// `PAGEFAULT` (8): postcopy migration.
  public static let pageFault = ProtocolFeatures(bit: 8)
  /// `CONFIG` (9): the configuration space is read and written over the socket.
  public static let configuration = ProtocolFeatures(bit: 9)
  /// `BACKEND_SEND_FD` (10): descriptors on the back-channel.
  public static let backendSendFD = ProtocolFeatures(bit: 10)
  /// `HOST_NOTIFIER` (11): doorbell pages handed to the front-end.
  public static let hostNotifier = ProtocolFeatures(bit: 11)
  /// `INFLIGHT_SHMFD` (12): a record of the requests in flight in shared memory.
  public static let inflightSharedMemory = ProtocolFeatures(bit: 12)
  /// `RESET_DEVICE` (13): the front-end can reset the device.
  public static let resetDevice = ProtocolFeatures(bit: 13)
  /// `INBAND_NOTIFICATIONS` (14): kicks and calls as messages.
  public static let inbandNotifications = ProtocolFeatures(bit: 14)
  /// `CONFIGURE_MEM_SLOTS` (15): memory regions are added and removed one by one.
  public static let memorySlots = ProtocolFeatures(bit: 15)
  /// `STATUS` (16): the device status field over the socket.
  public static let status = ProtocolFeatures(bit: 16)
  /// `XEN_MMAP` (17): memory regions of Xen guests.
  public static let xenMapping = ProtocolFeatures(bit: 17)
  /// `SHARED_OBJECT` (18): sharing of dma-buf objects.
  public static let sharedObject = ProtocolFeatures(bit: 18)
  /// `DEVICE_STATE` (19): migration of the back-end's own state.
  public static let deviceState = ProtocolFeatures(bit: 19)
  /// `GET_VRING_BASE_INFLIGHT` (20): a ring can be stopped with requests in flight, which are left in the shared record.
  public static let vringBaseInflight = ProtocolFeatures(bit: 20)
  /// `GPA_ADDRESSES` (21): addresses of rings are the guest's, not the front-end's.
  public static let guestAddresses = ProtocolFeatures(bit: 21)
  /// `SHMEM` (22): shared memory regions of the device.
  public static let sharedMemory = ProtocolFeatures(bit: 22)
  /// `GET_VRING_BASE_SKIP_DRAIN` (23): the front-end says for each ring whether it is to be drained before it stops.
  public static let vringBaseSkipDrain = ProtocolFeatures(bit: 23)

  /// The names with their numbers, ascending: `MQ (0), REPLY_ACK (3)`; `none` for the empty set.
  public var description: String {
    let names = (0..<64).filter { rawValue & (1 << UInt64($0)) != 0 }.map { bit in
      bit < ProtocolFeatures.names.count ? "\(ProtocolFeatures.names[bit]) (\(bit))" : "bit \(bit)"
    }
    return names.isEmpty ? "none" : names.joined(separator: ", ")
  }

  private static let names = [
    "MQ", "LOG_SHMFD", "RARP", "REPLY_ACK", "MTU", "BACKEND_REQ", "CROSS_ENDIAN", "CRYPTO_SESSION", "PAGEFAULT",
    "CONFIG", "BACKEND_SEND_FD", "HOST_NOTIFIER", "INFLIGHT_SHMFD", "RESET_DEVICE", "INBAND_NOTIFICATIONS",
    "CONFIGURE_MEM_SLOTS", "STATUS", "XEN_MMAP", "SHARED_OBJECT", "DEVICE_STATE", "GET_VRING_BASE_INFLIGHT",
    "GPA_ADDRESSES", "SHMEM", "GET_VRING_BASE_SKIP_DRAIN",
  ]
}
