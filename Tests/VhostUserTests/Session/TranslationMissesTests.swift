import Testing
import Virtio

@testable import VhostUser

/// What a front-end is asked for, and how often.
struct TranslationMissesTests {
  private typealias Miss = AddressMap.Miss

  private static let later = TranslationMisses.patience

  @Test("Each page is asked for once, whoever waits for it, and again when nothing has come of it for a while")
  func once() {
    var misses = TranslationMisses()
    misses.set([Miss(address: 0x1234, access: .read)], of: 0)
    misses.set([Miss(address: 0x1ff0, access: .read), Miss(address: 0x1ff0, access: .write)], of: 3)
    #expect(
      misses.takeDue(at: 1) == [Miss(address: 0x1234, access: .read), Miss(address: 0x1ff0, access: .write)])
    #expect(misses.takeDue(at: 2).isEmpty && misses.takeDue(at: Self.later).isEmpty)
    #expect(misses.takeDue(at: 1 + Self.later).count == 2)
    misses.set([Miss(address: 0x5000, access: .read)], of: 0)
    #expect(misses.takeDue(at: 2 + Self.later) == [Miss(address: 0x5000, access: .read)])
  }

  @Test("A ring that no longer waits is forgotten, and what it waited for is asked for anew the next time")
  func forgotten() {
    var misses = TranslationMisses()
    misses.set([Miss(address: 0x1000, access: .read)], of: 0)
    #expect(misses.takeDue(at: 1).count == 1)
    misses.settle(in: .empty)
    #expect(!misses.isEmpty && misses.takeDue(at: 2).isEmpty)
    misses.set([], of: 0)
    #expect(misses.isEmpty && misses.takeDue(at: 3).isEmpty)
    misses.set([Miss(address: 0x1000, access: .read)], of: 0)
    #expect(misses.takeDue(at: 4).count == 1)
  }
}
