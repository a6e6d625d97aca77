/// A device that can serve a guest whose memory arrives after it (vhost-user, Postcopy): an access may take as long as a
/// network, so that it must hold up nobody else.
public protocol PostcopyServing {
  /// From now on accesses to guest memory may wait for long. Comes before ``Device/configure(_:)``.
  ///
  /// - Throws: Any error; the migration then fails.
  func beginPostcopy() throws

  /// All memory has arrived, or the migration was given up.
  ///
  /// - Throws: Any error; the device then goes on as it is.
  func endPostcopy() throws
}
