public import VDPA

/// A record in shared memory of what back-ends have in flight, made by one and handed on to the next (vhost-user, Inflight I/O
/// tracking). Nobody but back-ends knows what is in it.
public struct FrontendInflight: Sendable {
  /// Its size and place in its file, and what it was made for.
  let payload: InflightPayload
  /// Its memory.
  public let file: OwnedFD

  /// How many bytes it has.
  public var size: UInt64 { payload.size }
}
