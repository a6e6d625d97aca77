/// A queue pair of an ``ApplicationPort``, from the guest's point of view.
public struct NetQueuePair: Sendable {
  /// What the guest receives from: packets are given to it here.
  public let receive: NetQueue
  /// What the guest sends on: packets are taken from it here.
  public let transmit: NetQueue
}
