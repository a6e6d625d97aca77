/// The functions that DPDK's virtio driver receives and sends with, by the names that it logs when its port starts.
package struct DriverPath: Hashable, Sendable, CustomStringConvertible {
  /// Such as "packed ring mergeable buffer".
  package let receive: String
  package let transmit: String

  package init(receive: String, transmit: String) {
    self.receive = receive
    self.transmit = transmit
  }

  /// Reads what testpmd printed.
  ///
  /// - Parameter port: The port's number; what was said last of it holds.
  package init(parsing output: String, port: Int) throws(PeerError) {
    func name(_ direction: String) throws(PeerError) -> String {
      let (start, end) = ("virtio: using ", " \(direction) path on port \(port)")
      let line = output.split(whereSeparator: \.isNewline).last { $0.contains(start) && $0.hasSuffix(end) }
      guard let line, let found = line.firstRange(of: start) else {
        throw PeerError(
          .badAnswer, "the virtio driver does not say how it moves packets on port \(port) (\(direction))",
          outputTail: output)
      }
      return String(line[found.upperBound...].dropLast(end.count))
    }
    receive = try name("Rx")
    transmit = try name("Tx")
  }

  package var description: String { "\(receive) Rx, \(transmit) Tx" }
}
