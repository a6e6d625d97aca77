import Peers
import VDPA

/// How much other programs are in the way of a measurement, from when this is made.
struct Disturbance {
  private let processes: [Int32]
  private let delays: [UInt64?]
  private let start: UInt64

  init(of processes: Int32...) {
    self.processes = processes
    delays = processes.map(PeerProcess.schedulingDelay)
    start = MonotonicClock.nanoseconds
  }

  /// The share of the time until now in which one of the processes was ready to run and another program had its CPU; nil
  /// where the kernel does not count it. That of the process for which it is worst: a sum would count the same intruder
  /// twice.
  func share() -> Double? {
    let time = Double(MonotonicClock.nanoseconds - start)
    return zip(delays, processes).compactMap { before, process in
      before.flatMap { before in PeerProcess.schedulingDelay(of: process).map { Double($0 &- before) / time } }
    }.max()
  }
}
