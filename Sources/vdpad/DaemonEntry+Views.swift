import Control
import VDPA
import VhostUser
import Virtio

/// What the daemon tells of a socket.
extension Daemon.Entry {
  var summary: SocketSummary {
    let status = socket.status
    return SocketSummary(
      name: status.name, path: status.path, role: status.role.rawValue, type: "\(socket.configuration.type)",
      queues: queues, binding: DeviceNumbers(status.binding), datapath: status.datapath, connected: status.isConnected,
      ready: status.isReady, notReadyReason: status.notReadyReason, deviceFailures: status.deviceFailures)
  }

  var detail: SocketDetail {
    let candidates = socket.candidates.map { DeviceNumbers($0) }
    let status = socket.status
    return SocketDetail(
      summary,
      SocketExtras(
        candidates: candidates.sorted { ($0.engine, $0.device) < ($1.engine, $1.device) },
        failover: socket.configuration.failover.rawValue, failovers: status.failovers,
        failoverReason: status.failoverReason, vrings: vrings))
  }

  var statistics: SocketStatistics {
    SocketStatistics(name: socket.configuration.name, datapath: socket.status.datapath, vrings: vrings)
  }

  private var vrings: [VringCounters] {
    socket.statistics.enumerated().map { index, vring in
      VringCounters(
        index: index, name: socket.configuration.type.vringName(index),
        counters: Dictionary(uniqueKeysWithValues: vring.named.map { ($0.name, $0.value) }))
    }
  }
}

extension DeviceNumbers {
  init(_ handle: DeviceHandle) { self.init(engine: handle.engine.id, device: handle.device) }
}
