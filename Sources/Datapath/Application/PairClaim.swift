internal import Synchronization

/// Which device a pair of the application belongs to.
final class PairClaim: Sendable {
  private let owner = Mutex<String?>(nil)

  /// Whether it belongs to one.
  var isTaken: Bool { owner.withLock { $0 != nil } }

  /// Takes it.
  ///
  /// - Returns: To whom it belongs, when it cannot be taken.
  func take(for name: String) -> String? {
    owner.withLock { owner in
      if owner != nil { return owner }
      owner = name
      return nil
    }
  }

  func leave() { owner.withLock { $0 = nil } }
}
