import SystemPackage
import VDPA

extension Session {
  /// Sends a message for each call of a ring that has no eventfd of the front-end's.
  func watchInbandCalls() {
    guard state.value.protocolState.protocolFeatures.contains(.inbandNotifications) else { return }
    for vring in state.value.protocolState.vrings {
      watchInbandCalls(of: vring)
    }
  }

  private func watchInbandCalls(of vring: SessionVring) {
    let call = vring.isCallInternal ? vring.call : nil
    let watched = state.value.inbandCalls[vring.index]
    guard watched?.call !== call else { return }
    if let watched { loop.cancel(watched.registration) }
    state.value.inbandCalls[vring.index] = nil
    guard let call else { return }
    do throws(Errno) {
      let registration = try loop.watch(call, .readable) { [self] _ in
        EventFD.drain(call)
        sendBack(.vringCall(index: UInt32(vring.index)))
      }
      state.value.inbandCalls[vring.index] = (call, registration)
    } catch {
      log.error("vring \(vring.index) cannot call its driver: \(error)")
    }
  }
}
