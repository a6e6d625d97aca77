public import Virtio

/// Moves a virtio device that runs from one device to another, unseen by its guest (design §4.1).
///
/// Nothing is stopped before the new device has said that it can take over, with guest memory mapped. If it then fails all
/// the same, the old one goes on from where it was. Each step is an operation of one of the two devices, in its context; who
/// asks for a hand-over keeps all other operations away from both until it is over.
public struct Handover: Sendable {
  /// What the old device was configured with, changed as it was told since; positions are those that it began at.
  public var setup: DeviceSetup
  /// Who hears of what happens to the new device.
  public var observer: any DeviceObserver
  /// Where writes to guest memory are noted; nil for nowhere.
  public var log: DirtyLog?
  /// Whether it is known to be the same device to the guest. One that has failed cannot be asked any more.
  public var isCompared = false
  /// The device that serves.
  public let old: DeviceContext
  /// The device that is to serve.
  public let new: DeviceContext

  /// How it has ended.
  public enum Outcome: Sendable {
    /// The new device serves, from the positions where the old one has stopped.
    case moved(StoppedRings)
    /// The new device cannot take over. The old one was not stopped.
    case refused(VDPAError)
    /// The new device has failed, and the old one goes on.
    case undone(VDPAError, StoppedRings)
    /// The new device has failed, and so has the old one when it was to go on: nobody serves. The rings stand there.
    case stopped(VDPAError, StoppedRings)
    /// A device could not be stopped: it may still use guest memory, and nobody else may serve the rings.
    case stuck(VDPAError)
  }

  /// A hand-over.
  public init(
    of setup: DeviceSetup, observer: any DeviceObserver, log: DirtyLog? = nil, from old: DeviceContext,
    to new: DeviceContext
  ) {
    self.setup = setup
    self.observer = observer
    self.log = log
    self.old = old
    self.new = new
  }

  /// Does it.
  ///
  /// - Parameter completion: Called once, on a thread of one of the devices or the caller's.
  public func run(completion: @escaping @Sendable (Outcome) -> Void) {
    compare { same in
      switch same {
      case .success: prepare(completion)
      case .failure(let error): completion(.refused(error))
      }
    }
  }

  /// Prepares the new device to take the old one's place while nobody serves the rings: it has to be the same device to the
  /// guest, and is told features and log. It is configured when the rings run.
  ///
  /// - Parameter completion: Called once, like that of ``run(completion:)``. After a failure the new device is as it was.
  public func prepareIdle(completion: @escaping DeviceContext.Completion<Void>) {
    compare { same in
      guard case .success = same else { return completion(same) }
      tellNew { told in
        guard case .failure(let error) = told else { return completion(told) }
        abandon { _ in completion(.failure(error)) }
      }
    }
  }

  // MARK: Prepare

  /// Whether the guest's driver would see another device.
  private func compare(_ completion: @escaping @Sendable (Result<Void, VDPAError>) -> Void) {
    let (one, other) = (old.attributes.type, new.attributes.type)
    guard one == other else {
      return completion(
        .failure(VDPAError(.wrongDeviceType, "\(name(new)) is a \(other) device; the guest has a \(one) device")))
    }
    guard log == nil || new.canLog else {
      return completion(
        .failure(VDPAError(.notOffered, "\(name(new)) keeps no dirty log, and the guest is being migrated")))
    }
    if isCompared { return completion(.success(())) }
    Handover.compare(old, new, features: setup.features, completion)
  }

  /// Whether a guest's driver that has accepted these features sees the same device in both, which are of one type.
  ///
  /// - Parameter completion: Called once; an error, ``VDPAError`` `notOffered`, names the fields that differ.
  public static func compare(
    _ old: DeviceContext, _ new: DeviceContext, features: Features,
    _ completion: @escaping @Sendable (Result<Void, VDPAError>) -> Void
  ) {
    old.readConfiguration { before in
      new.readConfiguration { after in
        completion(
          Result { () throws(VDPAError) in
            let differences = VisibleField.differences(
              try before.get(), try after.get(), of: old.attributes.type, features: features)
            guard differences.isEmpty else {
              throw VDPAError(
                .notOffered,
                "\(name(old)) and \(name(new)) are not the same device to the guest: they differ in "
                  + "\(differences.joined(separator: ", ")); configure both alike")
            }
          })
      }
    }
  }

  private func prepare(_ completion: @escaping @Sendable (Outcome) -> Void) {
    // Where a ring stands when the old device has stopped is anywhere.
    guard new.attributes.startsAnywhere else {
      return completion(
        .refused(
          VDPAError(.notOffered, "\(name(new)) serves rings from their beginning only, and the guest's have moved on")))
    }
    new.prepare(newSetup()) { prepared in
      if case .failure(let error) = prepared { return completion(.refused(error)) }
      tellNew { told in
        guard case .failure(let error) = told else { return stop(completion) }
        abandon { _ in completion(.refused(error)) }
      }
    }
  }

  /// Tells the new device what was agreed upon.
  private func tellNew(_ completion: @escaping DeviceContext.Completion<Void>) {
    new.setFeatures(setup.features) { accepted in
      guard case .success = accepted else { return completion(accepted) }
      setLog(log, completion)
    }
  }

  private func setLog(_ log: DirtyLog?, _ completion: @escaping DeviceContext.Completion<Void>) {
    guard new.canLog else { return completion(.success(())) }
    new.setLog(log, completion: completion)
  }

  /// Lets go of the new device, which does not serve.
  ///
  /// - Parameter completion: Called with whether it has let go of guest memory.
  private func abandon(_ completion: @escaping DeviceContext.Completion<[VringState]>) {
    setLog(nil) { _ in new.close(completion: completion) }
  }

  // MARK: Stop and start

  private func stop(_ completion: @escaping @Sendable (Outcome) -> Void) {
    old.close { closed in
      switch closed {
      case .success(let states):
        start(
          StoppedRings(of: setup, said: states, completesInOrder: old.attributes.completesInOrder), completion)
      case .failure(let error): abandon { _ in completion(.stuck(error)) }
      }
    }
  }

  private func start(_ rings: StoppedRings, _ completion: @escaping @Sendable (Outcome) -> Void) {
    new.configure(newSetup(at: rings)) { configured in
      switch configured {
      case .success: completion(.moved(rings))
      case .failure(let error):
        let rings = rings.updated(by: error.states)
        abandon { released in
          // One that cannot be closed may still write; nobody is let at the rings beside it.
          if case .failure(let second) = released { return completion(.stuck(second)) }
          old.configure(setup.at(rings)) { restored in
            switch restored {
            case .success: completion(.undone(error, rings))
            case .failure(let second):
              completion(
                .stopped(VDPAError(.operationFailed, "\(error); and the device before: \(second)"), rings))
            }
          }
        }
      }
    }
  }

  private func newSetup(at rings: StoppedRings? = nil) -> DeviceSetup {
    var moved = rings.map(setup.at) ?? setup
    moved.observer = observer
    return moved
  }

  private static func name(_ device: DeviceContext) -> String { "\(device.handle) (\(device.driver))" }
  private func name(_ device: DeviceContext) -> String { Handover.name(device) }
}

extension DeviceSetup {
  /// The same with rings that stand elsewhere.
  ///
  /// - Parameter states: Where, in any order; rings that are not among them stay where they are.
  public func at(_ states: [VringState]) -> DeviceSetup {
    var moved = self
    for i in moved.vrings.indices {
      if let state = states.first(where: { $0.index == moved.vrings[i].description.index }) {
        moved.vrings[i].description.state = state
      }
    }
    return moved
  }
}
