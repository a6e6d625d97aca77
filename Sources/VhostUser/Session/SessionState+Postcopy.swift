import SystemPackage
import VDPA
import Virtio

/// A postcopy migration at its destination: guest memory arrives after its guest (vhost-user, Postcopy).
struct SessionPostcopy {
  /// By which missing pages are brought.
  let faults: PageFaults
  /// Whether memory that is shared from now on may lack pages (POSTCOPY_LISTEN).
  var isListening = false
  /// Whether the front-end has been told where regions are and has not taken note of it: nobody may touch them before.
  var isAwaitingEnd = false
  /// What waits for its pages and may not have been taken over yet.
  var arriving = GuestMemory.empty

  /// Lets nobody wait any more: in the memory that is used, and in what was to come.
  func end(in memory: GuestMemory) {
    memory.unregister(from: faults)
    if arriving !== memory { arriving.unregister(from: faults) }
  }
}

extension SessionState {
  func advisePostcopy() throws(VhostUserError) -> SessionAction {
    guard postcopy == nil else {
      throw VhostUserError(.outOfState, "a postcopy migration has been advised before and not ended (POSTCOPY_END)")
    }
    return .advisePostcopy
  }

  mutating func listenPostcopy() throws(VhostUserError) -> SessionAction {
    let faults = try advised()
    do throws(VirtioError) {
      // What was shared before may lack pages too.
      try memory.register(with: faults, besides: .empty)
    } catch {
      throw VhostUserError(.badMemory, "\(error)")
    }
    postcopy?.isListening = true
    return .none
  }

  mutating func endPostcopy() throws(VhostUserError) -> SessionAction {
    let faults = try advised()
    postcopy?.end(in: memory)
    postcopy = nil
    return .endPostcopy(faults)
  }

  private func advised() throws(VhostUserError) -> PageFaults {
    guard let postcopy else {
      throw VhostUserError(.outOfState, "no postcopy migration has been advised (POSTCOPY_ADVISE)")
    }
    return postcopy.faults
  }

  /// Prepares new memory for pages that arrive late.
  ///
  /// - Returns: What tells the front-end where it is in this process; nil without a postcopy migration.
  mutating func postcopyAnswer(to message: FrontendMessage, _ new: GuestMemory) throws(VhostUserError) -> [UInt8]? {
    guard let postcopy, postcopy.isListening else { return nil }
    func here(_ region: MemoryRegionPayload) throws(VhostUserError) -> MemoryRegionPayload {
      guard let found = try? MemoryRegion(region), let address = new.processAddress(of: found) else {
        throw VhostUserError(.badMemory, "a region is not there after it was mapped")
      }
      var region = region
      region.userAddress = address
      return region
    }
    do throws(VirtioError) {
      try new.register(with: postcopy.faults, besides: memory)
    } catch {
      throw VhostUserError(.badMemory, "\(error)")
    }
    self.postcopy?.arriving = new
    switch message {
    case .setMemoryTable(let table, _):
      var answer = table
      for i in answer.regions.indices { answer.regions[i] = try here(answer.regions[i]) }
      self.postcopy?.isAwaitingEnd = true
      return answer.encoded
    case .addMemoryRegion(let region, _):
      self.postcopy?.isAwaitingEnd = true
      return SingleRegionPayload(region: try here(region)).encoded
    default:
      return nil
    }
  }

  /// The front-end has taken note of where all regions are.
  mutating func endPostcopyMemory() throws(VhostUserError) -> SessionAction {
    guard postcopy?.isAwaitingEnd == true else {
      throw VhostUserError(.malformed, "no memory region came along")
    }
    postcopy?.isAwaitingEnd = false
    return .none
  }
}
