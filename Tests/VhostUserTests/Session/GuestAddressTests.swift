import FrontEndTestSupport
import Testing
import VDPA
import Virtio

@testable import VhostUser

/// GPA_ADDRESSES: a front-end that names rings as the guest does.
struct GuestAddressTests {
  private func start(_ world: CapableWorld, byGuest: Bool) throws -> Bool {
    let frontEnd = world.frontEnd
    world.guest.share(with: frontEnd)
    var isStarted = true
    for ring in world.guest.rings {
      world.guest.describe(ring, to: frontEnd)
      if byGuest {
        var addresses = ring.addresses
        addresses.descriptor = addresses.descriptor - Guest.userBase + Guest.guestBase
        addresses.available = addresses.available - Guest.userBase + Guest.guestBase
        addresses.used = addresses.used - Guest.userBase + Guest.guestBase
        frontEnd.send(.setVringAddress, addresses.encoded)
      }
      let file = VringFilePayload(index: UInt32(ring.index), hasDescriptor: true).encoded
      isStarted = try frontEnd.tell(.setVringKick, file, descriptors: [ring.kick.rawValue]) && isStarted
    }
    frontEnd.send(.setStatus, bytes(0x0f))
    try world.settle()
    return isStarted
  }

  @Test(
    "Negotiated, rings are where the guest sees them; otherwise where the front-end does", arguments: [false, true])
  func addresses(isNegotiated: Bool) throws {
    for byGuest in [false, true] {
      let world = try CapableWorld(
        enabling: .guestAddresses,
        negotiating: CapableWorld.protocolFeatures.union(isNegotiated ? .guestAddresses : []), running: false)
      #expect(try start(world, byGuest: byGuest) == (byGuest == isNegotiated))
      #expect(world.socket.status.isReady == (byGuest == isNegotiated))
    }
  }

  @Test("A socket offers it only where that was asked for")
  func notOfferedByItself() throws {
    let world = try CapableWorld(negotiating: nil)
    let offered = ProtocolFeatures(rawValue: try world.frontEnd.ask(.getProtocolFeatures))
    #expect(offered.isDisjoint(with: SessionOffer.optionalProtocolFeatures))
  }
}
