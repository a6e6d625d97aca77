internal import Glibc
internal import SystemPackage
internal import VDPA
internal import Virtio

/// What a guest's migration needs.
extension Conformance {
  static let migration = [
    ConformanceRule("migration.log", "Every page that the device writes is noted in the dirty log") { bench in
      let device = try loggable(bench)
      device.logsRings = true
      for format in bench.formats(of: device) {
        let guest = try bench.guest(for: device, format, regionCount: 3)
        let probe = try bench.probe(guest)
        try device.start(guest)
        for _ in 0..<5 { try probe.exchange() }
        let log = try PageLog(for: guest)
        try device.setLog(log.log)
        let areas = written(guest, queue: bench.rings(ofQueue: 0), probe)
        let before = areas.map { guest.memory.read($0.lowerBound, count: $0.count) }
        for _ in 0..<50 { try probe.exchange() }
        try device.stop()
        var count = 0
        for (area, old) in zip(areas, before) {
          let new = guest.memory.read(area.lowerBound, count: area.count)
          for offset in new.indices where new[offset] != old[offset] {
            let address = area.lowerBound + UInt64(offset)
            count += 1
            try require(
              log.has(address),
              "\(format): the byte at 0x\(String(address, radix: 16)) was written, and its page not noted")
          }
        }
        if format == .packed {
          // The device writes where the driver does, too: whose bytes they are cannot be told, but some are the device's.
          for vring in bench.rings(ofQueue: 0).map({ guest.vrings[$0] }) {
            try require(
              log.has(vring.descriptor), "the descriptors of vring \(vring.index) were written, and not noted")
          }
        }
        try require(count > 0, "the device has written nothing")
        try device.setLog(nil)
      }
    },
    ConformanceRule("migration.log-off", "When the log is taken away nothing is noted there any more") { bench in
      let device = try loggable(bench)
      device.logsRings = true
      let guest = try bench.guest(for: device, .split)
      let probe = try bench.probe(guest)
      try device.start(guest)
      let log = try PageLog(for: guest)
      try device.setLog(log.log)
      try probe.exchange()
      try device.setLog(nil)
      log.clear()
      for _ in 0..<20 { try probe.exchange() }
      try require(log.isEmpty, "pages were noted in a log that was taken away")
    },
    ConformanceRule("migration.done", "A device takes in that its guest has arrived") { bench in
      let device = try bench.claim()
      let guest = try bench.guest(for: device, .split)
      let probe = try bench.probe(guest)
      try device.start(guest)
      try device.context.wait(within: device.patience) { $0.migrationDone(completion: $1) }
      try probe.exchange()
    },
  ]

  private static func loggable(_ bench: ConformanceBench) throws -> DrivenDevice {
    let device = try bench.claim()
    guard device.context.canLog else { throw ConformanceEnd.skip(missing: "dirty log") }
    return device
  }

  /// Where only the device writes: buffers, and what it owns of the rings.
  private static func written(_ guest: DriverGuest, queue: [Int], _ probe: any Probe) -> [Range<UInt64>] {
    probe.answers
      + queue.map { guest.vrings[$0] }.map { $0.used..<$0.used + UInt64($0.layout.usedBytes) }
  }

  /// A dirty log that can be looked at.
  private struct PageLog {
    let log: DirtyLog
    private let file: OwnedFD
    private let size: Int

    init(for guest: DriverGuest) throws {
      let end = guest.memory.regions.map(\.region.guestEnd).max() ?? 0
      size = Int(end / DirtyLog.pageSize / 8 + 1)
      file = try MemoryFile.make("dirty-log", size: size)
      log = try DirtyLog(file: file.descriptor, offset: 0, size: UInt64(size))
    }

    private var bytes: [UInt8] {
      var bytes = [UInt8](repeating: 0, count: size)
      // The array has as many bytes as are asked for.
      let count = unsafe bytes.withUnsafeMutableBytes { unsafe pread(file.rawValue, $0.baseAddress, $0.count, 0) }
      precondition(count == size, "a memory file of \(size) bytes cannot be read")
      return bytes
    }

    func has(_ address: UInt64) -> Bool {
      let page = Int(address / DirtyLog.pageSize)
      return bytes[page / 8] & 1 << UInt8(page % 8) != 0
    }

    var isEmpty: Bool { bytes.allSatisfy { $0 == 0 } }

    func clear() {
      let zeroes = [UInt8](repeating: 0, count: size)
      let count = unsafe zeroes.withUnsafeBytes { unsafe pwrite(file.rawValue, $0.baseAddress, $0.count, 0) }
      precondition(count == size, "a memory file of \(size) bytes cannot be written")
    }
  }
}
