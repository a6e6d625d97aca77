import ArgumentParser
import Foundation
import FrontEndTestSupport
import Peers
import VDPA
import VhostUser
import Virtio

/// Many connections at once: what one costs, and what the others notice of one that stalls.
struct Connections: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "How fast others are answered while one of many connections stalls in the middle of a message.",
    discussion: """
      One process serves the sockets, this one is all of their front-ends: each negotiates features, shares memory and \
      starts two rings. Then the others ask GET_STATUS, one after the other, while all is well and while one stalls; in \
      turns, so that a drift of the machine's speed weighs on all rows. The table has the medians over the rounds; "p99 more" \
      is the median of what a stall adds to the 99th percentile of its own round; "waiting" is the median share of a round in \
      which another program had the CPU of either end: beyond some percent, repeat it on an idle machine.
      """)

  /// What one connection does meanwhile.
  private enum Stall: CaseIterable, CustomStringConvertible {
    case none
    case afterOneByte
    case afterHeader
    case inPayload
    case answersUnread

    var description: String {
      switch self {
      case .none: "nobody"
      case .afterOneByte: "after one byte"
      case .afterHeader: "after its header"
      case .inPayload: "in its payload"
      case .answersUnread: "1,000 answers unread"
      }
    }
  }

  @Option(help: "Connections.")
  var count = 1024

  @Option(help: "Threads of the back-end that sessions live on.")
  var threads = 1

  @Option(help: "How often each case is measured.")
  var rounds = 15

  @Option(help: "Questions a round.")
  var questions = 1000

  func validate() throws {
    guard count > 1, threads > 0, rounds > 0, questions > 0 else {
      throw ValidationError("there are at least two connections, and threads, rounds and questions are positive")
    }
  }

  func run() throws {
    let needed = count * 9 + 100
    guard OpenFileLimit.raise() >= needed else {
      throw ValidationError("\(count) connections need \(needed) open files: raise ulimit -Hn, or use fewer (--count)")
    }
    let scratch = try ScratchDirectory("many")
    let backEnd = try PeerProcess(
      PeerProcess.builtProgram("vdpa-bench"),
      ["connections-backend", "--folder", scratch.path, "--count", "\(count)", "--threads", "\(threads)"])
    try backEnd.waitForText(ConnectionsBackEnd.ready, timeout: .seconds(60))
    let (memory, descriptors) = (backEnd.privateMemory, backEnd.descriptors)
    var machines: [(guest: Guest, frontEnd: RawFrontEnd)] = []
    let start = MonotonicClock.nanoseconds
    for i in 0..<count {
      let guest = try Guest(format: i.isMultiple(of: 2) ? .split : .packed)
      let frontEnd = try RawFrontEnd(path: scratch.file("\(i)"))
      try guest.run(with: frontEnd)
      machines.append((guest, frontEnd))
    }
    let setUp = Double(MonotonicClock.nanoseconds - start) / 1e6 / Double(count)
    for machine in machines { _ = try machine.guest.exchange([1, 2, 3]) }

    var latencies: [Stall: [Latencies]] = [:]
    for round in 0..<rounds {
      for stall in round.isMultiple(of: 2) ? Stall.allCases : Stall.allCases.reversed() {
        let finish = begin(stall, machines[0].frontEnd)
        var answers = Latencies()
        let disturbance = Disturbance(of: backEnd.pid, getpid())
        for i in 0..<questions {
          let other = machines[1 + i % (count - 1)].frontEnd
          let start = MonotonicClock.nanoseconds
          _ = try other.ask(.getStatus)
          answers.add(MonotonicClock.nanoseconds - start)
        }
        answers.disturbance = disturbance.share() ?? 0
        latencies[stall, default: []].append(answers)
        try finish()
      }
    }
    print(table(latencies))
    print("")
    print(
      textTable([
        ["connections", "set-up ms each", "private KiB each", "descriptors each"],
        [
          "\(count)", Figure.fixed(setUp, 2), each(backEnd.privateMemory, memory, digits: 1),
          each(backEnd.descriptors, descriptors, digits: 1),
        ],
      ]))
    backEnd.terminate()
  }

  /// Begins a stall; what ends it and takes the answers.
  private func begin(_ stall: Stall, _ frontEnd: RawFrontEnd) -> () throws -> Void {
    let payload = VringStatePayload(index: 0, number: 1).encoded
    let message =
      MessageHeader(request: FrontendRequest.setVringEnable.rawValue, flags: .needReply, size: payload.count).encoded
      + payload
    func breakOff(after count: Int) -> () throws -> Void {
      frontEnd.send(bytes: Array(message.prefix(count)))
      return {
        frontEnd.send(bytes: Array(message.dropFirst(count)))
        guard try frontEnd.answer()?.value == 0 else { throw ValidationError("the stalled message was not answered") }
      }
    }
    switch stall {
    case .none: return {}
    case .afterOneByte: return breakOff(after: 1)
    case .afterHeader: return breakOff(after: MessageHeader.byteCount)
    case .inPayload: return breakOff(after: MessageHeader.byteCount + 4)
    case .answersUnread:
      for _ in 0..<1000 { frontEnd.send(.getStatus) }
      return { for _ in 0..<1000 { _ = try frontEnd.answer() } }
    }
  }

  private func table(_ latencies: [Stall: [Latencies]]) -> String {
    func median(_ values: [Double]) -> String { values.median.map { Figure.fixed($0, 1) } ?? "-" }
    let idle = latencies[.none] ?? []
    return textTable(
      [["one stalls", "p50 µs", "p99 µs", "max µs", "p99 more, µs", "waiting"]]
        + Stall.allCases.compactMap { stall in
          latencies[stall].map { rounds in
            let more = zip(rounds, idle).map { $0.percentile(0.99) - $1.percentile(0.99) }
            return ["\(stall)"] + [0.5, 0.99, 1].map { share in median(rounds.map { $0.percentile(share) }) }
              + [
                stall == .none ? "" : median(more),
                rounds.map(\.disturbance).median.map(Figure.percent) ?? "-",
              ]
          }
        })
  }

  private func each(_ after: Int?, _ before: Int?, digits: Int) -> String {
    guard let after, let before else { return "-" }
    return Figure.fixed(Double(after - before) / Double(count), digits)
  }
}
