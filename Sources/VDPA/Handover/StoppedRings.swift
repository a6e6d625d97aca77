/// Where rings stand that nobody serves any more.
public struct StoppedRings: Sendable {
  /// A ring that a device had before it could no longer say where it stands.
  public struct Ring<Value: Sendable>: Sendable {
    /// The ring.
    public var index: Int
    /// What is to be said of it.
    public var value: Value
  }

  /// Where they stand, in any order; without those that are lost.
  public var states: [VringState]
  /// Rings whose position was found in guest memory, with the number of chains that may be served once more.
  public var repeated: [Ring<Int>] = []
  /// Rings with which nobody can go on, and why.
  public var lost: [Ring<VDPAError>] = []

  /// Rings that stand there.
  public init(states: [VringState]) { self.states = states }

  /// What a device says, and for the rings of which it says nothing what can be found in guest memory (``RingRecovery``).
  ///
  /// - Parameters:
  ///   - setup: What the device was configured with; what it was told of since included.
  ///   - said: What its `close` has returned.
  ///   - completesInOrder: Whether it returns chains in the order in which it fetches them.
  public init(of setup: DeviceSetup, said: [VringState], completesInOrder: Bool) {
    states = said
    for vring in setup.vrings.map(\.description) where !said.contains(where: { $0.index == vring.index }) {
      do throws(VDPAError) {
        let position = try RingRecovery.position(
          of: vring, features: setup.features, completesInOrder: completesInOrder, in: setup.memory)
        states.append(position.state)
        repeated.append(Ring(index: vring.index, value: position.repeated))
      } catch {
        lost.append(Ring(index: vring.index, value: error))
      }
    }
  }

  /// The same, but for rings that stand elsewhere by now.
  func updated(by newer: [VringState]) -> StoppedRings {
    var result = self
    result.states = states.filter { state in !newer.contains { $0.index == state.index } } + newer
    return result
  }
}

extension DeviceSetup {
  /// The same with rings that stand elsewhere, and without those that are lost.
  public func at(_ rings: StoppedRings) -> DeviceSetup {
    var moved = at(rings.states)
    moved.vrings.removeAll { vring in rings.lost.contains { $0.index == vring.description.index } }
    return moved
  }
}
