/// Connects, sends a packet on each pair to a back-end that gives it back, and leaves, as any front-end does.
///
/// - Throws: When the back-end does not serve it, or another packet comes back.
package func behaveWell(at path: String, queues: Int = 1) throws {
  let guest = try Guest(queues: queues)
  let frontEnd = try RawFrontEnd(path: path)
  try guest.run(with: frontEnd)
  for pair in 0..<queues {
    let packet = (0..<100).map { UInt8($0 + pair) }
    let returned = try guest.exchange(packet, pair: pair)
    try require(returned == packet, "\(returned) came back for \(packet)")
  }
  frontEnd.hangUp()
}
