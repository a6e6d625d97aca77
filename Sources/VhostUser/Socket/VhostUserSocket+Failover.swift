import Synchronization
import VDPA

/// The software device that stands by for one that fails.
extension VhostUserSocket {
  /// Has a software device stand by, if the socket is to fail over and is bound to another one.
  ///
  /// - Throws: ``VDPAError`` of the claim; `notOffered`, when software would be another device to the guest.
  func prepareStandby(_ setup: inout Setup) throws {
    guard configuration.failover != .off, setup.binding != .software, setup.standby == nil else { return }
    let attributes = try attributes(&setup)
    guard let device = setup.device else { return }
    let standby = try claim(.software, queues: setup.queues ?? attributes.queueCount)
    let features = (setup.features ?? attributes.features).intersection(standby.attributes.features)
    let isSame: Result<Void, VDPAError> = waitForValue {
      Handover.compare(device, standby, features: features, $0)
    }
    guard case .failure(let error) = isSame else {
      setup.standby = standby
      return
    }
    standby.release()
    throw VDPAError(error.code, "software cannot stand by for \(device.handle): \(error)")
  }

  // MARK: The way back

  /// Has the socket bound again, later, to a device that has failed, if it asks for that and nobody has bound it since.
  func planReturn(to home: DeviceHandle) {
    guard let time = configuration.returnsAfter else { return }
    loop.run(after: max(time, 1)) { [weak self] in
      guard let self, self.setup.withLock({ $0.home == home }) else { return }
      // A switch is waited for, which this thread does a part of.
      _ = try? PinnedThread(name: "vdpa-return") { self.comeBack(to: home) }
    }
  }

  private func comeBack(to home: DeviceHandle) {
    do {
      try exclusively {
        guard let server = server.withLock({ $0 }), setup.withLock({ $0.home == home }) else { return }
        try switchOver(to: home, server)
        log.info("\(home) serves again")
      }
    } catch let error as VDPAError where [.staleHandle, .unknownEngine, .unknownDevice].contains(error.code) {
      log.warning("\(home) does not come back: \(error)")
    } catch {
      planReturn(to: home)
    }
  }

  // MARK: What stands by

  /// Has a device stand by again that was to take over and has not.
  func keep(_ standby: DeviceContext?) {
    let surplus = setup.withLock { setup -> DeviceContext? in
      guard let standby, setup.device !== standby, setup.standby !== standby else { return nil }
      guard setup.standby == nil, setup.isStarted, setup.binding != .software else { return standby }
      setup.standby = standby
      return nil
    }
    surplus?.release()
  }

  /// The device that stands by, which does no longer then.
  func takeStandby() -> DeviceContext? {
    setup.withLock { setup in
      defer { setup.standby = nil }
      return setup.standby
    }
  }

  /// Whether the device that stands by could serve while writes are noted.
  var canLend: Bool { setup.withLock { $0.standby?.canLog == true } }

  /// The bound device, while software serves in its place.
  var away: DeviceContext? { setup.withLock { $0.away } }

  /// What stood by serves in place of the bound device.
  func lend(_ standby: DeviceContext) {
    setup.withLock { setup in
      (setup.away, setup.device, setup.driver) = (setup.device, standby, standby.driver)
    }
  }

  /// The bound device serves again, or will, and software stands by.
  ///
  /// - Returns: That device; nil when it was not away.
  func takeBack() -> DeviceContext? {
    setup.withLock { setup in
      guard let own = setup.away else { return nil }
      (setup.standby, setup.device, setup.driver, setup.away) = (setup.device, own, own.driver, nil)
      return own
    }
  }

  /// Whether a device stands by.
  var hasStandby: Bool { setup.withLock { $0.standby != nil } }
}
