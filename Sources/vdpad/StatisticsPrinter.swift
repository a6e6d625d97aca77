import Datapath
import Glibc
import VDPA
import VhostUser
import Virtio

/// Prints the counters of sockets' vrings and of switches, and what the workers did, with the rates since the last time.
struct StatisticsPrinter {
  private let sockets: [VhostUserSocket]
  private let engine: SoftwareEngine
  private var last: [[VringStatistics]]
  private var lastWorkers: [WorkerStatistics]
  private var lastTime = MonotonicClock.nanoseconds

  init(_ sockets: [VhostUserSocket], _ engine: SoftwareEngine) {
    self.sockets = sockets
    self.engine = engine
    last = sockets.map { _ in [] }
    lastWorkers = engine.workerStatistics
  }

  mutating func print() {
    let now = MonotonicClock.nanoseconds
    let seconds = Double(now - lastTime) / 1e9
    for (i, socket) in sockets.enumerated() {
      let vrings = socket.statistics
      print(socket, vrings, since: last[i], seconds: seconds)
      last[i] = vrings
    }
    printWorkers()
    print(engine.switchStatistics)
    // Into a pipe or a file it would otherwise wait for a full buffer.
    fflush(nil)
    lastTime = now
  }

  private func print(
    _ socket: VhostUserSocket, _ vrings: [VringStatistics], since last: [VringStatistics], seconds: Double
  ) {
    let status = socket.status
    Swift.print(
      "\(status.name): \(status.binding) (\(status.datapath)), "
        + (status.isReady ? "ready" : "not ready: \(status.notReadyReason ?? "")"))
    Swift.print(row(["vring", "packets", "bytes", "packets/s", "dropped", "kicks", "calls", "suppressed"]))
    for (index, vring) in vrings.enumerated() {
      let before = index < last.count ? last[index].packets : 0
      let rate = seconds > 0 ? Double(vring.packets &- before) / seconds : 0
      Swift.print(
        row(
          [socket.configuration.type.vringName(index)]
            + [
              vring.packets, vring.bytes, UInt64(rate), vring.dropped, vring.kicks, vring.calls, vring.suppressedCalls,
            ]
            .map(String.init)))
      if let rest = StatisticsPrinter.rest(of: vring) { Swift.print(rest) }
    }
  }

  private mutating func printWorkers() {
    let workers = engine.workerStatistics
    // Sockets that are bound to another engine leave them without a queue.
    if workers.contains(where: { $0.queues > 0 }) {
      Swift.print(row(["worker", "mode", "cpu", "queues", "busy %", "asleep %", "turns", "sleeps"]))
      for (index, worker) in workers.enumerated() {
        Swift.print(row(StatisticsPrinter.cells(worker, since: lastWorkers[index], index: index)))
      }
    }
    lastWorkers = workers
  }

  /// What has happened at the ports of switches; nothing without any.
  private func print(_ switches: [String: [SwitchPortStatistics]]) {
    for (name, ports) in switches.sorted(by: { $0.key < $1.key }) {
      for port in ports {
        let counters = port.counters.named.filter { $0.value > 0 }.map { ", \($0.name) \($0.value)" }.joined()
        Swift.print("switch \(name), \(port.port): addresses \(port.addresses)\(counters)")
      }
    }
  }

  /// What else has happened on a vring, in a line below its row; nil if nothing has.
  static func rest(of vring: VringStatistics) -> String? {
    let inTable = [
      "good_packets", "good_bytes", "dropped_packets", "kicks", "guest_notifications", "guest_notifications_suppressed",
    ]
    let rest = vring.named.filter { $0.value > 0 && !inTable.contains($0.name) }
    return rest.isEmpty ? nil : "                " + rest.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
  }

  /// A worker's row: the shares of the time since `before`, and the counts since then.
  static func cells(_ worker: WorkerStatistics, since before: WorkerStatistics, index: Int) -> [String] {
    func percent(_ share: Double) -> String {
      let tenths = Int((share * 1000).rounded())
      return "\(tenths / 10).\(tenths % 10)"
    }
    return [
      "\(index)", worker.mode.rawValue, worker.cpu.map(String.init) ?? "any", "\(worker.queues)",
      percent(worker.load(since: before)), percent(worker.asleep(since: before)), "\(worker.turns &- before.turns)",
      "\(worker.sleeps &- before.sleeps)",
    ]
  }

  private func row(_ cells: [String]) -> String {
    cells.map { cell in String(repeating: " ", count: max(0, 14 - cell.count)) + cell }.joined()
  }
}
