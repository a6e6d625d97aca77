internal import Synchronization

/// Keeps what a driven device reports until somebody asks.
final class DriverReports: DeviceObserver {
  /// A device that reports without end fills no memory: what comes later is not kept.
  private static let kept = 1024

  private let reports = Mutex<[DeviceReport]>([])

  var all: [DeviceReport] { reports.withLock { $0 } }

  func deviceReports(_ report: DeviceReport) {
    reports.withLock { if $0.count < DriverReports.kept { $0.append(report) } }
  }
}
