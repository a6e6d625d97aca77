package import VDPA
package import Virtio

/// Queue pairs that nobody's thread serves: whoever has them gives all of them their turns, as a worker that polls does.
/// For whoever measures what a turn costs.
package final class PairTurns {
  /// Sleeps: it knows of no pair.
  private let worker: Worker
  private let pairs: [any WorkerClient]
  private let burst = PacketBurst()

  /// Pairs whose rings run.
  ///
  /// - Parameters:
  ///   - port: What is done with their packets.
  ///   - features: What the guest's driver has accepted.
  ///   - vrings: A receive and a transmit ring for each pair, in this order.
  /// - Throws: ``DatapathError`` or ``VirtioError``, when a ring cannot be served.
  package init(
    _ port: PortConfiguration, features: Features, memory: GuestMemory, vrings: [VringDescription]
  ) throws {
    worker = try Worker(name: "turns", mode: .event, cpu: nil)
    let worker = worker
    let ports = try PortSource(port, pairs: vrings.count / 2, owner: "turns", switches: Switches())
    pairs = try stride(from: 0, to: vrings.count - 1, by: 2).map { first in
      let ends = try vrings[first...first + 1].map { description in
        let vring = OwnedVring(name: "vring \(description.index)")
        let running = try NetVring(
          DeviceSetup.Vring(description, isEnabled: true), features: features, memory: memory,
          counters: vring.counters)
        try vring.change { $0 = running }
        return vring
      }
      let pair = NetPair(
        name: "queue pair \(first / 2)", worker: worker, port: ports.make(first / 2), receive: ends[0],
        transmit: ends[1])
      pair.changed(isTransmit: false)
      return pair
    }
  }

  deinit {
    worker.stop()
  }

  /// Gives each pair a turn.
  ///
  /// - Returns: How much was done.
  package func turn() -> Int {
    var work = 0
    for pair in pairs { work &+= pair.serve(burst, isPolled: true) }
    return work
  }
}
