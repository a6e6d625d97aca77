internal import CLinux
internal import Glibc
internal import Synchronization
internal import VDPA

/// A thread that makes a peer's stores over and over while walkers are at work. There is one for all inputs: to start a
/// thread for each would take longer than the input.
final class Adversary: Sendable {
  private let memories: [FuzzMemory]
  private let list: StoreList
  private let wakeup = FutexWord()
  /// The number of the command, and in the low four bits what it says: 0 to keep quiet, n to write to memory n − 1.
  private let command = Atomic(0)
  /// The last command that the thread has seen.
  private let seen = Atomic(0)

  /// Starts the thread, which keeps quiet for now and ends with the process.
  ///
  /// - Parameters:
  ///   - list: The stores; changed only while the thread keeps quiet.
  ///   - memories: At most 15.
  /// - Throws: `Errno`, when the system has no thread left.
  static func make(_ list: StoreList, memories: [FuzzMemory]) throws -> Adversary {
    let adversary = Adversary(list, memories: memories)
    _ = try PinnedThread(name: "adversary") { adversary.run() }
    return adversary
  }

  private init(_ list: StoreList, memories: [FuzzMemory]) {
    self.list = list
    self.memories = memories
  }

  /// Has the stores made in a memory until ``stop()``; returns when the thread has begun.
  func start(on memory: Int) { give(memory + 1) }

  /// Returns when the thread has made its last store.
  func stop() { give(0) }

  private func give(_ what: Int) {
    let number = (command.load(ordering: .relaxed) | 15) + 1 + what
    command.store(number, ordering: .releasing)
    if what > 0 { wakeup.signal() }
    var polls = 0
    while seen.load(ordering: .acquiring) != number {
      polls += 1
      // Both threads may have to share one CPU.
      if polls < 1000 { clinux_pause() } else { sched_yield() }
    }
  }

  private func run() {
    var idle = 0
    while true {
      let word = wakeup.value
      let number = command.load(ordering: .acquiring)
      seen.store(number, ordering: .releasing)
      guard number & 15 > 0 else {
        // The next input mostly comes at once.
        idle += 1
        if idle < 2000 { clinux_pause() } else { wakeup.wait(whileEqualTo: word, nanoseconds: -1) }
        continue
      }
      idle = 0
      let memory = memories[number & 15 - 1]
      for i in 0..<list.count {
        memory.apply(list[i])
        if i & 63 == 63 && command.load(ordering: .relaxed) != number { break }
      }
    }
  }
}
