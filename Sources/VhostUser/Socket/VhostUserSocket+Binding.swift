import Synchronization
public import VDPA

/// Which device serves the socket.
extension VhostUserSocket {
  /// The device that serves the socket; ``DeviceHandle/software`` unless it was bound.
  public var binding: DeviceHandle { setup.withLock { $0.binding } }

  /// Binds the socket to a device, which is claimed at once.
  ///
  /// On a socket that runs this is the live switch: the device takes the rings over as they stand, and the guest does not
  /// notice (design §4.1). The call returns when it is over.
  ///
  /// While nobody serves the rings, because they do not run or their device has failed, the next device takes the place of
  /// the one before; what goes wrong when it is configured is then told like any failure of a device. Binding to the device
  /// that has failed has it try again.
  ///
  /// - Throws: ``VDPAError`` of the claim, or of the switch: when the device lacks what the front-end has been promised, is
  ///   another device to the guest, or fails; ``VhostUserError`` `notNegotiated`, when it does not have what the socket was
  ///   set to offer, or `outOfState` from a delegate of a socket that runs, which would wait for itself. The binding is then
  ///   as it was, and so is whoever serves, unless neither device can.
  public func bind(_ device: DeviceHandle) throws {
    try exclusively {
      setup.withLock { $0.home = nil }
      if let server = server.withLock({ $0 }) { return try switchOver(to: device, server) }
      try edit { setup in
        if setup.device != nil, setup.binding == device { return }
        let claimed = try claim(device, queues: setup.queues)
        setup.device?.release()
        (setup.device, setup.driver, setup.binding) = (claimed, claimed.driver, device)
      }
    }
  }

  /// Binds the socket to the software datapath again, which is claimed when it is needed; see ``bind(_:)``.
  public func unbind() throws {
    try exclusively {
      setup.withLock { $0.home = nil }
      if let server = server.withLock({ $0 }) { return try switchOver(to: .software, server) }
      edit { setup in
        setup.device?.release()
        (setup.device, setup.driver, setup.binding) = (nil, Registry.softwareName, .software)
      }
    }
  }

  func claim(_ handle: DeviceHandle, queues: Int?) throws(VDPAError) -> DeviceContext {
    // Only a software device is made for this socket; any other has the queues that it has.
    try registry.claim(
      handle, type: configuration.type, by: .vhostUser, owner: configuration.name,
      queues: handle == .software ? queues : nil, parameters: handle == .software ? configuration.parameters : [:])
  }

  /// Has the running side go on with another device.
  func switchOver(to device: DeviceHandle, _ server: SocketServer) throws {
    guard !loop.isCurrent else {
      throw VhostUserError(.outOfState, "a delegate cannot wait for its own socket; bind it from another thread")
        .with(socket: configuration.name)
    }
    var next = setup.withLock { $0 }
    if next.binding == device { return server.retry() }
    // Front-ends have been told how many there are.
    let queues = try next.queues ?? attributes(&next).queueCount
    // The one that stands by is as good as a new one, and may have what a new one would need. Whoever has it, no failover can.
    let standby = device == .software ? takeStandby() : nil
    let before = next.standby
    let claimed = try standby ?? claim(device, queues: queues)
    do {
      (next.device, next.driver, next.binding) = (claimed, claimed.driver, device)
      if device != .software { try prepareStandby(&next) }
      let offer = try prepare(&next).1
      try server.switchDevice(to: claimed, offer: offer, standby: next.standby)
    } catch {
      if standby == nil { claimed.release() } else { keep(standby) }
      // One that was there before may be about to take over.
      if let made = next.standby, made !== before { made.release() }
      throw error
    }
  }

  /// Another device serves, or will. On the loop's thread.
  ///
  /// - Parameters:
  ///   - standby: What stands by for it.
  ///   - home: Which one is to be bound again later; nil for none.
  /// - Returns: Those that are not needed any more.
  func take(_ device: DeviceContext, standby: DeviceContext?, home: DeviceHandle? = nil) -> [DeviceContext] {
    setup.withLock { setup in
      let (before, old) = (setup.devices, setup.away ?? setup.device)
      if let old, !setup.candidates.isEmpty {
        // It may be switched to again.
        setup.candidates[setup.binding] = SessionOffer.attributes(of: old)
      }
      setup.standby = standby === device ? nil : standby
      (setup.device, setup.driver, setup.binding, setup.away) = (device, device.driver, device.handle, nil)
      setup.home = home
      return before.filter { old in !setup.devices.contains { $0 === old } }
    }
  }
}
