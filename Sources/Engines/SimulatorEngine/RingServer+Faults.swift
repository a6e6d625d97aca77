internal import VDPA
internal import Virtio

/// The faults that happen to a device while it serves its rings (``SimulatedFault``).
extension RingServer {
  /// A packet or request was completed.
  ///
  /// - Returns: False when the device has vanished with it: nothing is to be touched any more.
  func countPacket() -> Bool {
    faults.countPacket()
    lookForVanishing()
    return !isGone
  }

  /// What is to be wrong with the next used entry of a vring.
  func corruption(on vring: ServedVring) -> SimulatedFault.Corruption? {
    guard faults.isAny else { return nil }
    return SimulatedFault.Corruption.allCases.first { faults.take(.corruptUsedEntry(vring: vring.index, $0)) }
  }

  /// Writes where nothing is mapped, if it is to.
  func writeAstray(_ queue: any ServedQueue) {
    guard faults.isAny else { return }
    for vring in queue.vrings where !vring.isBroken && faults.take(.strayWrite(vring: vring.index)) {
      // Behind the last range there is none.
      let address = memory.ranges.last.map { $0.start &+ $0.size } ?? 0
      var view = view
      guard let place = unsafe view.contiguous(at: address, length: 8, for: .write) else {
        vring.ring.setFault(.unmapped)
        continue
      }
      unsafe place.storeBytes(of: 0xbad, as: UInt64.self)
    }
  }

  /// Does what the fault asks for, or takes it back.
  func lookForVanishing() {
    guard faults.isActive(.vanishing) else {
      isGone = false
      return
    }
    if !isGone { vanish() }
  }

  /// Goes away at once: the map first, so that whoever hears of it can rely on nothing being written any more.
  private func vanish() {
    isGone = true
    let observer = observer
    forgetAll()
    dmaMap.unmapAll()
    isMapRevoked = true
    memory = .empty
    observer?.deviceReports(
      .failed(reason: "simulated device \(device) has vanished; where its rings stand it cannot say any more"))
  }
}
