internal import Synchronization
internal import Virtio

/// A claimed device in its context of execution: the only way to call it.
///
/// Operations run one at a time, in the order of the calls. For a device whose operations may block they run on a thread
/// of its own, made at the first of them; for others on the caller's thread, before the call returns. Either way the
/// completion is called exactly once, on the thread that ran the operation, under no lock.
public final class DeviceContext: Sendable {
  /// What an operation results in.
  public typealias Completion<Value: Sendable> = @Sendable (Result<Value, VDPAError>) -> Void

  /// Which device it is.
  public let handle: DeviceHandle
  /// The name of its engine's driver; `software` for engine −1.
  public let driver: String
  /// Who has claimed it.
  public let owner: String
  /// What it is and offers, as of when it was claimed.
  public let attributes: DeviceAttributes
  /// Whether it can stop single vrings.
  public let canStopVrings: Bool
  /// Whether it has a configuration space.
  public let hasConfiguration: Bool
  /// Whether it has doorbells.
  public let hasDoorbells: Bool
  /// Whether it can serve memory that arrives late.
  public let canWaitForPages: Bool
  /// Whether it keeps a dirty log.
  public let canLog: Bool
  /// Whether it can tell its network where a guest is.
  public let canAnnounce: Bool
  /// Its counters, if it counts.
  public let statistics: (any DeviceStatistics)?

  /// nil once the device was given back.
  private let held: Mutex<Held?>
  /// Has a thread from its first job on.
  private let queue: SerialThread
  /// Whether operations go there, or are done by the caller.
  private let mayBlock: Atomic<Bool>
  private let released: Mutex<(@Sendable () -> Void)?>

  init(
    _ device: sending any Device, handle: DeviceHandle, driver: String, owner: String,
    released: @escaping @Sendable () -> Void
  ) {
    self.handle = handle
    self.driver = driver
    self.owner = owner
    let capabilities = device.capabilities
    attributes = device.attributes
    canStopVrings = capabilities.vringControl != nil
    hasConfiguration = capabilities.configuration != nil
    hasDoorbells = capabilities.notifyArea != nil
    canWaitForPages = capabilities.postcopy != nil
    canLog = capabilities.dirtyTracking != nil
    canAnnounce = capabilities.announcement != nil
    statistics = capabilities.statistics
    queue = SerialThread(name: "vdpa-\(handle.engine.id)/\(handle.device)")
    mayBlock = Atomic(attributes.operationsMayBlock)
    held = Mutex(Held(device: device, capabilities: capabilities))
    self.released = Mutex(released)
  }

  /// Gives the device back, after the operations that were asked for before; one that is still configured is closed.
  /// Operations that come later fail. Calling it again does nothing.
  ///
  /// Waits until the device can be claimed again, so it must not be called from a completion. A device that cannot be
  /// closed is not given back: it stays claimed, and its memory mapped.
  public func release() {
    let released = self.released.withLock { released in
      defer { released = nil }
      return released
    }
    guard let released else { return }
    // The engine may hand the device out again from `released` on, so it is let go of before, even though this context
    // lives on in whoever holds it.
    let last: @Sendable () -> Void = { [self] in
      let isClosed = held.withLock { held in
        guard (try? held?.close()) != nil else { return false }
        held = nil
        return true
      }
      if isClosed {
        released()
      } else {
        // Whoever asks again may find that it can be closed by then.
        self.released.withLock { $0 = released }
      }
    }
    guard mayBlock.load(ordering: .acquiring) else { return last() }
    let done = FutexWord()
    let seen = done.value
    queue.finish {
      last()
      done.signal()
    }
    while done.value == seen { done.wait(whileEqualTo: seen, nanoseconds: -1) }
  }

  deinit {
    // Whoever made the last claim forgot to give it back: the device would be claimed for ever.
    guard let released = released.withLock({ $0 }) else { return }
    if mayBlock.load(ordering: .acquiring) { queue.finish {} }
    held.withLock { held in
      guard var current = held else { return }
      guard (try? current.close()) != nil else {
        // It may still use guest memory, which must not go with this object.
        DeviceContext.stuck.withLock { $0.append(Abandoned(current)) }
        return
      }
      held = nil
      released()
    }
  }

  /// A device that could not be closed, with its memory, for as long as the process lives. Nobody calls it any more.
  @safe private final class Abandoned: @unchecked Sendable {
    private let held: Held
    init(_ held: Held) { self.held = held }
  }

  private static let stuck = Mutex<[Abandoned]>([])

  /// From now on operations may block, for the guest's memory has pages that have not arrived: they get a thread of their
  /// own. It stays: there is no telling when the last of them has been waited for.
  func giveThread() { mayBlock.store(true, ordering: .releasing) }

  /// Runs one operation in the context.
  ///
  /// - Parameters:
  ///   - name: The operation's name for the error.
  ///   - body: What to do.
  ///   - completion: Called with the result; an error names owner, device and operation.
  func perform<Value: Sendable>(
    _ name: String, _ body: @escaping @Sendable (inout Held) throws -> Value, completion: @escaping Completion<Value>
  ) {
    let operation: @Sendable () -> Void = { [self] in
      let result: Result<Value, VDPAError>
      do {
        result = .success(
          try held.withLock { held in
            guard var current = held else {
              throw VDPAError(.operationFailed, "the device was given back; claim it again")
            }
            defer { held = current }
            return try body(&current)
          })
      } catch {
        let code = (error as? VDPAError)?.code == .stuck ? VDPAError.Code.stuck : .operationFailed
        var failure = VDPAError(code, "\(owner): \(handle) (\(driver)) failed in \(name): \(error)")
        failure.states = (error as? PartialStart)?.states ?? []
        result = .failure(failure)
      }
      completion(result)
    }
    if mayBlock.load(ordering: .acquiring) { queue.run(operation) } else { operation() }
  }
}
