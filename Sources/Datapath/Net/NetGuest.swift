internal import Virtio

/// What a guest has negotiated about its packets: how they look when they come from it, and how they have to look when
/// they go to it.
struct NetGuest: Sendable {
  /// The length of the header in front of every packet in bytes.
  let headerLength: Int
  /// What was negotiated; of these the offloads count.
  let features: Features
  /// The longest packet with its header in bytes that is not to be segmented.
  let maxLength: Int

  /// The guest that has negotiated those features.
  ///
  /// - Parameter configuration: What it can read; its MTU holds if it was negotiated.
  init(features: Features, configuration: NetConfiguration) {
    headerLength = NetHeader.length(for: features)
    self.features = features
    let frameLength =
      features.contains(.netMTU)
      ? min(configuration.frameLength, PacketBurst.maxLength - headerLength) : PacketBurst.maxLength - headerLength
    maxLength = frameLength + headerLength
  }

  /// The guest that has negotiated those features, whatever its MTU: what it sends it may get back, longer than that or
  /// not.
  init(features: Features) {
    headerLength = NetHeader.length(for: features)
    self.features = features
    maxLength = PacketBurst.maxLength
  }

  /// The longest frame in bytes that is not to be segmented.
  var frameLength: Int { maxLength - headerLength }
}
