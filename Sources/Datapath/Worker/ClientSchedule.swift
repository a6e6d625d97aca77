/// Which of its clients a worker turns to, and when: its thread's own.
///
/// Those that had something to do lately are turned to in every round, one after the other, a burst each. Who had nothing
/// for a while rests. A worker that polls looks at one of those that rest every half a microsecond, so that a busy queue
/// is hardly slowed by a great many idle ones; one that sleeps until it is woken looks at them when they wake it.
struct ClientSchedule {
  /// A client and where it stands.
  private struct Slot {
    let served: ServedClient
    /// In how many turns in a row there was nothing to do.
    var quiet = 0
    var isResting = false
    /// Its place in the list that it is in.
    var place = 0
  }

  /// After how many turns without anything to do a polled client rests.
  static let patience = 64
  /// How often one of those that rest is looked at while others are busy, in nanoseconds: 63 of them have their turn
  /// within 32 microseconds, as long as a round of the busy ones takes no more than four.
  static let lookInterval: UInt64 = 500
  /// How many of them at most after one round, or as many as are busy.
  static let mostLooks = 8

  private var slots: [Slot] = []
  private var ids: [UInt64] = []
  /// How to see of those that rest that they need no turn.
  private var looks: [QuietLook?] = []
  private var busy: [Int] = []
  private var resting: [Int] = []
  /// The next one to be looked at.
  private var cursor = 0
  private var lastLook: UInt64 = 0
  private let lookCycles: UInt64

  /// A schedule without clients.
  ///
  /// - Parameter cyclesPerMicrosecond: Of the times that it is told.
  init(cyclesPerMicrosecond: UInt64 = CycleClock.perMicrosecond) {
    lookCycles = max(cyclesPerMicrosecond * ClientSchedule.lookInterval / 1000, 1)
  }

  /// Has these clients from now on, all of them busy.
  mutating func reset(_ clients: [ServedClient]) {
    slots = clients.map { Slot(served: $0) }
    ids = clients.map(\.id)
    looks = Array(repeating: nil, count: clients.count)
    busy = Array(slots.indices)
    for i in busy { slots[i].place = i }
    resting = []
    cursor = 0
  }

  var isEmpty: Bool { slots.isEmpty }
  var count: Int { slots.count }
  /// How many are turned to in every round.
  var busyCount: Int { busy.count }

  /// The client that is the n-th of all, whatever it does.
  func client(_ index: Int) -> ServedClient { slots[index].served }

  /// The n-th of a round; nil at its end. What ``note(_:work:patience:)`` does to it decides which one is the next.
  @inline(__always) func inRound(_ place: Int) -> Int? { place < busy.count ? busy[place] : nil }

  /// Takes in what a turn of a busy client has come to.
  ///
  /// - Parameter patience: After how many turns without anything to do it rests.
  /// - Returns: Whether it is still busy; if not, another one may have taken its place in the round.
  @inline(__always) mutating func note(_ index: Int, work: Int, patience: Int) -> Bool {
    guard work == 0 else {
      slots[index].quiet = 0
      return true
    }
    slots[index].quiet &+= 1
    guard slots[index].quiet >= patience else { return true }
    rest(index)
    return false
  }

  /// How many of those that rest are to be looked at after a round.
  ///
  /// - Parameters:
  ///   - now: In cycles.
  ///   - isIdle: Whether nobody had anything to do: then there is time.
  @inline(__always) mutating func looksDue(at now: UInt64, isIdle: Bool) -> Int {
    guard !resting.isEmpty else { return 0 }
    // A clock that went backwards makes a look due, and is right from there on.
    let elapsed = now &- lastLook
    guard isIdle || elapsed >= lookCycles else { return 0 }
    lastLook = now
    let due = elapsed >= lookCycles ? Int(clamping: elapsed / lookCycles) : 1
    return min(max(due, 1), max(ClientSchedule.mostLooks, busy.count), resting.count)
  }

  /// The next one to be looked at of those that rest; there is one.
  @inline(__always) mutating func nextLook() -> Int {
    if cursor >= resting.count { cursor = 0 }
    defer { cursor &+= 1 }
    return resting[cursor]
  }

  /// Whether all of those that rest have been looked at since this was so last.
  var isLapDone: Bool { cursor >= resting.count }

  /// The number of the client that is the n-th of all.
  @inline(__always) func id(_ index: Int) -> UInt64 { ids[index] }

  /// Whether one that rests has to have a turn, to see whether there is anything to do.
  @inline(__always) func mayHaveWork(_ index: Int) -> Bool { looks[index]?.mayHaveWork() ?? true }

  /// A client had nothing to do and rests.
  mutating func setLook(_ index: Int) { looks[index] = slots[index].served.client.quietLook() }

  /// All of those that rest are to have a turn.
  mutating func forgetLooks() { for index in resting { looks[index] = nil } }

  /// A client that rests has something to do, or has been woken. One that does not rest stays as it is.
  mutating func wake(_ index: Int) {
    guard slots[index].isResting else { return }
    var hole = slots[index].place
    if hole < cursor {
      // What fills the hole has been looked at in this lap, and what has not stays in front of the cursor.
      cursor &-= 1
      put(resting[cursor], inResting: hole)
      hole = cursor
    }
    put(resting[resting.count - 1], inResting: hole)
    resting.removeLast()
    slots[index].isResting = false
    looks[index] = nil
    slots[index].quiet = 0
    slots[index].place = busy.count
    busy.append(index)
  }

  /// The place of the client with a number; nil when it is not served any more.
  func index(of id: UInt64) -> Int? {
    // They are in the order of their numbers.
    var (low, high) = (0, ids.count)
    while low < high {
      let middle = (low + high) / 2
      if ids[middle] < id { low = middle + 1 } else { high = middle }
    }
    return low < ids.count && ids[low] == id ? low : nil
  }

  private mutating func put(_ index: Int, inResting place: Int) {
    resting[place] = index
    slots[index].place = place
  }

  private mutating func rest(_ index: Int) {
    let (place, last) = (slots[index].place, busy[busy.count - 1])
    busy[place] = last
    slots[last].place = place
    busy.removeLast()
    slots[index].isResting = true
    slots[index].place = resting.count
    resting.append(index)
  }
}
