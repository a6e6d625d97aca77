public import VDPA
public import Virtio

/// What the socket offers its front-ends.
extension VhostUserSocket {
  /// The devices that the socket may be switched to while it runs, besides the one that it is bound to. Front-ends are
  /// offered what all of them have; a switch to any other device is refused if that lacks something of it.
  public var candidates: [DeviceHandle] { withSetup { Array($0.candidates.keys) } }

  /// Sets the candidates. Each device is claimed for a moment, to see what it has.
  ///
  /// - Throws: ``VhostUserError`` `outOfState` after `start`; ``VDPAError``, when a device cannot be claimed.
  public func setCandidates(_ devices: [DeviceHandle]) throws {
    try change { setup in
      setup.candidates = [:]
      let queues = try attributes(&setup).queueCount
      var candidates: [DeviceHandle: DeviceAttributes] = [:]
      for handle in devices {
        guard handle != setup.binding else {
          candidates[handle] = try attributes(&setup)
          continue
        }
        let device = try claim(handle, queues: setup.queues ?? queues)
        candidates[handle] = SessionOffer.attributes(of: device)
        device.release()
      }
      setup.candidates = candidates
    }
  }

  /// The virtio features that the socket offers: the device's, unless restricted.
  ///
  /// - Throws: ``VDPAError``, when the device cannot be claimed.
  public var features: Features {
    get throws {
      try look { setup in
        let all = try attributes(&setup).features
        return setup.features.map(all.intersection) ?? all
      }
    }
  }

  /// Offers exactly these virtio features.
  ///
  /// - Throws: ``VhostUserError`` `notNegotiated`, naming those that the device does not have; `outOfState` after
  ///   `start`.
  public func setFeatures(_ features: Features) throws {
    try change { setup in
      let excess = features.subtracting(try attributes(&setup).features)
      guard excess.isEmpty else { throw lacking(excess.describe(for: configuration.type), setup.binding) }
      setup.features = features
    }
  }

  /// Offers these virtio features too. Throws like ``setFeatures(_:)``.
  public func enableFeatures(_ features: Features) throws { try setFeatures(try self.features.union(features)) }

  /// Offers these virtio features no more.
  ///
  /// - Throws: ``VhostUserError`` `outOfState` after `start`.
  public func disableFeatures(_ features: Features) throws { try setFeatures(try self.features.subtracting(features)) }

  /// The protocol features that the socket offers: the device's and those of which the socket itself takes care, unless set.
  /// Front-ends acknowledge CROSS_ENDIAN, INBAND_NOTIFICATIONS and GPA_ADDRESSES without knowing them, so these are
  /// offered only where they are enabled.
  ///
  /// - Throws: ``VDPAError``, when the device cannot be claimed.
  public var protocolFeatures: ProtocolFeatures {
    get throws {
      try look { setup in
        let all = try attributes(&setup).protocolFeatures
        return setup.protocolFeatures.map(all.union(SessionOffer.optionalProtocolFeatures).intersection) ?? all
      }
    }
  }

  /// Offers exactly these protocol features.
  ///
  /// - Throws: ``VhostUserError`` `notNegotiated`, naming those that the device cannot serve; `outOfState` after `start`.
  public func setProtocolFeatures(_ features: ProtocolFeatures) throws {
    try change { setup in
      let all = try attributes(&setup).protocolFeatures.union(SessionOffer.optionalProtocolFeatures)
      let excess = features.subtracting(all)
      guard excess.isEmpty else { throw lacking(excess.description, setup.binding) }
      setup.protocolFeatures = features
    }
  }

  /// Offers these protocol features too. Throws like ``setProtocolFeatures(_:)``.
  public func enableProtocolFeatures(_ features: ProtocolFeatures) throws {
    try setProtocolFeatures(try protocolFeatures.union(features))
  }

  /// Offers these protocol features no more.
  ///
  /// - Throws: ``VhostUserError`` `outOfState` after `start`.
  public func disableProtocolFeatures(_ features: ProtocolFeatures) throws {
    try setProtocolFeatures(try protocolFeatures.subtracting(features))
  }

  /// The queues that the socket offers, as users count them (pairs for net): the device's, unless set.
  ///
  /// - Throws: ``VDPAError``, when the device cannot be claimed.
  public var queueCount: Int {
    get throws {
      try look { setup in min(setup.queues ?? .max, try attributes(&setup).queueCount) }
    }
  }

  /// Offers that many queues.
  ///
  /// - Throws: ``VhostUserError`` `notNegotiated`, when the device has fewer; `outOfState` after `start`; ``VDPAError``
  ///   when software cannot make as many.
  public func setQueueCount(_ count: Int) throws {
    try change { setup in
      guard count >= 1 else {
        throw VhostUserError(.notNegotiated, "a device has at least one queue, not \(count)")
          .with(socket: configuration.name)
      }
      if setup.binding == .software {
        // A software device is made with as many queues as are wanted, so another one takes its place. The one before
        // goes first: what it is made of may be nobody else's while it is there, such as the file of a block device.
        setup.device?.release()
        setup.device = nil
        setup.device = try claim(.software, queues: count)
      }
      let available = try attributes(&setup).queueCount
      guard count <= available else { throw lacking("\(count) queues (it has \(available))", setup.binding) }
      setup.queues = count
    }
  }
}
