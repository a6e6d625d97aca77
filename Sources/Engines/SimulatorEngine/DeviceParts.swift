internal import VDPA
internal import Virtio

/// What a simulated device is made of that outlives its being claimed.
struct DeviceParts: Sendable {
  let index: Int
  /// Of its thread, and in errors.
  let name: String
  let settings: SimulatorSettings
  let dmaMap = DMAMap()
  let board: StatisticsBoard
  let faults: FaultBoard
  let dials: DeviceDials
  /// What a block device reads and writes; nil for a net device.
  let disk: SimulatedDisk?
  /// nil for a device without doorbells.
  let notifyPages: NotifyPages?

  /// Makes them.
  ///
  /// - Throws: ``SimulatorError`` `badFile` or `noResources`.
  init(index: Int, name: String, settings: SimulatorSettings) throws(SimulatorError) {
    let vringCount = settings.queues * settings.type.ringsPerQueue
    self.index = index
    self.name = name
    self.settings = settings
    board = StatisticsBoard(vringCount: vringCount)
    faults = FaultBoard(device: name)
    dials = DeviceDials(latency: settings.latency)
    disk = settings.type == .block ? try SimulatedDisk(settings, device: index) : nil
    notifyPages = settings.hasNotifyArea ? try NotifyPages(device: name, count: vringCount) : nil
  }
}
