import SystemPackage
import VDPA
import Virtio

extension Session {
  /// Makes a userfaultfd and gives the front-end its descriptor; without one the front-end gives the migration up.
  func advisePostcopy(_ done: @escaping @Sendable (Outcome) -> Void) {
    let (faults, descriptor): (PageFaults, OwnedFD)
    do throws(Errno) {
      faults = try PageFaults()
      descriptor = try OwnedFD.duplicating(faults.descriptor)
    } catch {
      log.error("no userfaultfd can be had, so the guest cannot arrive by postcopy migration: \(error)")
      return done(.payload([], descriptors: []))
    }
    run {
      device.beginPostcopy(completion: $0)
    } then: { [self] result in
      switch result {
      case .success:
        state.value.protocolState.postcopy = SessionPostcopy(faults: faults)
        log.info("a guest is about to arrive by postcopy migration")
        done(.payload([], descriptors: [descriptor]))
      case .failure(let error):
        log.error("\(error)")
        done(.payload([], descriptors: []))
      }
    }
  }

  func endPostcopy(_ faults: PageFaults, _ done: @escaping @Sendable (Outcome) -> Void) {
    log.info("all memory of the guest has arrived")
    finish(done) { device.endPostcopy(completion: $0) }
  }

  /// Lets nobody wait any more for pages that the front-end, which has gone, would have brought.
  func abandonPostcopy() {
    guard let postcopy = state.value.protocolState.postcopy else { return }
    state.value.protocolState.postcopy = nil
    postcopy.end(in: state.value.protocolState.memory)
    device.endPostcopy { [log] result in
      if case .failure(let error) = result { log.error("\(error)") }
    }
  }
}
