internal import CLinux
internal import Glibc
internal import Synchronization
internal import VDPA

/// A thread that makes a peer's stores over and over while walkers are at work.
///
/// There is one for all inputs, and it never stands still: to start a thread for each input, or to wait until one has
/// stopped, takes longer than the input. So it may still make some stores of the input before, which harms nobody: all of
/// them are to guest memory.
final class Adversary: Sendable {
  private let memories: [FuzzMemory]
  /// One that is made use of, one that is wanted, and one to be filled.
  private let lists = [StoreList(), StoreList(), StoreList()]
  /// The list that is wanted, and behind it the memory: 16 × memory + list; −1 for none yet.
  private let wanted = Atomic(-1)
  /// What the thread makes use of. It looks once more whether that is still wanted before it begins.
  private let used = Atomic(-1)

  /// Starts the thread, which ends with the process.
  ///
  /// - Throws: `Errno`, when the system has no thread left.
  static func make(memories: [FuzzMemory]) throws -> Adversary {
    let adversary = Adversary(memories)
    _ = try PinnedThread(name: "adversary") { adversary.run() }
    return adversary
  }

  private init(_ memories: [FuzzMemory]) { self.memories = memories }

  /// Fills a list that nobody makes use of, and has its stores made from now on.
  ///
  /// - Parameters:
  ///   - memory: The number of the memory that they are for.
  ///   - fill: Adds the stores to an empty list.
  func write(to memory: Int, _ fill: (StoreList) -> Void) {
    let one = wanted.load(ordering: .sequentiallyConsistent) & 15
    let other = used.load(ordering: .sequentiallyConsistent) & 15
    guard let index = lists.indices.first(where: { $0 != one && $0 != other }) else {
      preconditionFailure("two lists are taken of three")
    }
    lists[index].clear()
    fill(lists[index])
    let what = memory << 4 | index
    wanted.store(what, ordering: .sequentiallyConsistent)
    // Where there is a CPU for it, the thread is there at once; where there is none, it will be some time.
    for _ in 0..<1000 where used.load(ordering: .relaxed) != what { clinux_pause() }
  }

  private func run() {
    while true {
      let what = wanted.load(ordering: .sequentiallyConsistent)
      used.store(what, ordering: .sequentiallyConsistent)
      guard what >= 0 else {
        sched_yield()
        continue
      }
      guard wanted.load(ordering: .sequentiallyConsistent) == what else { continue }
      let list = lists[what & 15]
      let memory = memories[what >> 4]
      for i in 0..<list.count {
        memory.apply(list[i])
        if i & 63 == 63 && wanted.load(ordering: .relaxed) != what { break }
      }
    }
  }
}
