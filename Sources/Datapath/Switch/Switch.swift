internal import Synchronization
internal import SystemPackage
internal import VDPA
internal import Virtio

/// A learning Ethernet switch (IEEE 802.1Q, 8.7 and 8.8), without VLANs of its own and without a spanning tree: its ports
/// are the sockets that name it.
///
/// Workers meet here and nowhere else: each plans for a burst of its own under one lock, and puts packets into the inboxes
/// of the receiving pairs. Packets are in buffers of one pool, which has as many as all inboxes and all bursts on it can
/// hold together, so that nobody can use up those of another.
final class Switch: Sendable {
  /// The most ports, and the most queue pairs of all of them together.
  static let maxPorts = 128
  /// How long an address is remembered, in seconds.
  static let ageing: UInt32 = 300
  /// The buffers that a pair can have: those in its inbox, and in its bursts, which keep as many in reserve.
  private static let buffersPerPair = SwitchInbox.capacity + SwitchPort.bursts * 2 * PacketBurst.capacity

  private struct Port {
    let owner: String
    let inboxes: [SwitchInbox]
    var counters = SwitchCounters()
  }

  private struct State: ~Copyable, Sendable {
    var table: SwitchTable
    var ports = [Port?](repeating: nil, count: Switch.maxPorts)
    var membership = SwitchMembership()
    var lastSweep: UInt32 = 0
  }

  let name: String
  let pool: PacketPool
  private let state: Mutex<State>
  /// The time in seconds.
  private let clock: @Sendable () -> UInt32

  /// A switch without ports.
  ///
  /// - Parameters:
  ///   - ageing: How long an address is remembered, in seconds.
  ///   - clock: The time in seconds; it never goes back.
  init(
    _ name: String, ageing: UInt32 = Switch.ageing,
    clock: @escaping @Sendable () -> UInt32 = {
      UInt32(truncatingIfNeeded: MonotonicClock.nanoseconds / 1_000_000_000)
    }
  ) throws(DatapathError) {
    self.name = name
    self.clock = clock
    do {
      pool = try PacketPool(count: Switch.maxPorts * Switch.buffersPerPair)
    } catch {
      throw DatapathError(.system, "switch \(name): \(error); give this process more addresses (ulimit -v)")
    }
    state = Mutex(State(table: SwitchTable(ageing: ageing)))
  }

  // MARK: Ports

  /// Adds a port.
  ///
  /// - Throws: ``DatapathError`` `inUse` or `system`.
  func join(_ owner: String, pairs: Int) throws(DatapathError) -> SwitchMember {
    var inboxes: [SwitchInbox] = []
    do {
      for _ in 0..<pairs { inboxes.append(try SwitchInbox(pool)) }
    } catch {
      throw DatapathError(.system, "\(owner): switch \(name) has no descriptor for a port (\(error))")
    }
    let id = state.withLock { state -> Int? in
      let used = state.ports.reduce(0) { $0 + ($1?.inboxes.count ?? 0) }
      guard used + pairs <= Switch.maxPorts, let id = state.ports.firstIndex(where: { $0 == nil }) else { return nil }
      state.ports[id] = Port(owner: owner, inboxes: inboxes)
      return id
    }
    guard let id else {
      throw DatapathError(
        .inUse,
        "\(owner): switch \(name) has no room for \(pairs) queue pairs more; its ports have \(Switch.maxPorts) at "
          + "most, all together")
    }
    return SwitchMember(self, id: id, inboxes: inboxes)
  }

  func leave(_ id: Int) {
    state.withLock { state in
      state.table.forget(port: id)
      for inbox in state.ports[id]?.inboxes ?? [] { inbox.setOpen(false) }
      state.ports[id] = nil
      Switch.updateMembership(&state)
    }
  }

  /// Forgets what was learned at a port: its guest has gone.
  func forget(_ id: Int) { state.withLock { $0.table.forget(port: id) } }

  /// An inbox was opened or closed.
  func membersChanged() { state.withLock { Switch.updateMembership(&$0) } }

  private static func updateMembership(_ state: inout State) {
    state.membership = SwitchMembership(state.ports.map { $0?.inboxes.filter(\.isOpen) ?? [] })
  }

  var statistics: [SwitchPortStatistics] {
    state.withLock { state in
      state.ports.indices.compactMap { id in
        guard let port = state.ports[id] else { return nil }
        var counters = port.counters
        counters.overflowed = UInt64(port.inboxes.reduce(0) { $0 + $1.overflowed })
        return SwitchPortStatistics(port: port.owner, addresses: state.table.count(of: id), counters: counters)
      }
    }
  }

  // MARK: Packets

  /// Takes note that packets from a port which were to be forwarded have met nobody who receives.
  func countUnreachable(_ count: Int, from id: Int) {
    var change = SwitchCounters()
    change.unreachable = UInt64(count)
    change.forwarded = 0 &- change.unreachable
    state.withLock { $0.ports[id]?.counters += change }
  }

  /// What was decided for a burst.
  struct Plan {
    /// How many packets from the start of the burst it is for; the others are to be put back.
    var count: Int
    /// Who receives.
    var members: SwitchMembership
  }

  /// The most bytes that are copied for one burst, or one packet if those are more: others of the worker wait meanwhile.
  private static let floodBudget = 1 << 20
  /// What a copy costs at least, in bytes.
  private static let copyCost = 256

  /// Learns where the packets of a burst come from, and decides where they go.
  ///
  /// - Parameters:
  ///   - packets: Which ones.
  ///   - id: The port that they come from.
  ///   - routes: Gets where each goes, by its number.
  func plan(
    _ burst: PacketBurst, _ packets: NetTranslation.Packets, from id: Int, into routes: inout [SwitchRoute]
  ) -> Plan {
    return state.withLock { state in
      // Under the lock, so that nobody finds what somebody else has learned to be of a time that is still to come.
      let now = clock()
      if state.lastSweep != now {
        state.lastSweep = now
        state.table.sweep(now: now)
      }
      var counters = SwitchCounters()
      var planner = SwitchPlanner(port: id, now: now)
      var plan = Plan(count: burst.count, members: state.membership)
      let copies = plan.members.ports.count
      var budget = Switch.floodBudget
      var rest = packets
      while rest != 0 {
        let i = rest.trailingZeroBitCount
        guard budget > 0 else {
          plan.count = i
          break
        }
        rest &= rest &- 1
        routes[i] = planner.route(burst, i, &state.table, &counters)
        if routes[i] == .flood { budget &-= copies &* max(burst.payloadLength(of: i), Switch.copyCost) }
      }
      state.ports[id]?.counters += counters
      return plan
    }
  }
}
