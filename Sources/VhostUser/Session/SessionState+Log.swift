import VDPA
import Virtio

/// The dirty log (vhost-user, Migration).
extension SessionState {
  /// Where devices are to note what they write to guest memory; nil for nowhere (`VHOST_F_LOG_ALL`).
  var activeLog: DirtyLog? { accepted?.contains(.logAll) == true ? log : nil }

  mutating func setLogBase(
    _ payload: LogPayload, _ file: OwnedFD
  ) throws(VhostUserError) -> SessionAction {
    let new: DirtyLog
    do throws(VirtioError) {
      new = try DirtyLog(
        file: file.descriptor, offset: payload.offset, size: payload.size, policy: offer.memoryPolicy)
    } catch {
      throw VhostUserError(
        .badMemory, "a dirty log of \(payload.size) bytes at offset \(payload.offset) cannot be mapped: \(error)")
    }
    try new.check(covers: memory, vrings)
    log = signalled(new)
    return .changeLog(answer: 0)
  }

  mutating func setLogFD(_ descriptor: OwnedFD) throws(VhostUserError) -> SessionAction {
    logSignal = try eventFD(descriptor, "log")
    if let log { self.log = signalled(log) }
    return .changeLog(answer: nil)
  }

  /// A log that tells whoever SET_LOG_FD has named.
  private func signalled(_ log: DirtyLog) -> DirtyLog {
    guard let logSignal else { return log }
    return log.signalling { EventFD.signal(logSignal) }
  }
}
