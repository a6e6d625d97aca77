internal import Glibc
internal import SystemPackage
public import Virtio

/// One vring of a driver: its memory, its eventfds, and the driver that makes buffers available in it (virtio 1.2, §2.7
/// and §2.8).
///
/// What the device writes into it is checked: a device that returns what it does not have is an error, never a wild access.
/// For one thread.
public final class DriverVring {
  /// A part of a buffer: its guest address and its length in bytes.
  public typealias Piece = (address: UInt64, length: Int)
  /// A buffer that came back: its id, and how many bytes the device wrote.
  public typealias Returned = (id: UInt16, length: Int)

  /// The most pieces of a buffer in an indirect table.
  public static let longestTable = 8

  /// The vring's index.
  public let index: Int
  /// Its format and size.
  public let layout: RingLayout
  /// What the driver kicks.
  public let kick: OwnedFD
  /// What the device calls.
  public let call: OwnedFD
  /// What whoever serves the ring signals when it finds it broken.
  public let error: OwnedFD
  /// The guest addresses of descriptor area, driver area and device area, and of the indirect tables.
  package let descriptor: UInt64, avail: UInt64, used: UInt64, tables: UInt64
  /// The ring's driver.
  package var driver: DriverRing
  private let memory: DriverMemory
  /// What came back before the ring was made available anew, and has not been collected.
  private var returned: [Returned] = []

  /// Makes a vring without buffers.
  ///
  /// - Parameters:
  ///   - index: Its index.
  ///   - size: The number of descriptors.
  ///   - memory: Where it is.
  ///   - features: What was negotiated: format, order, event indices and tables follow it.
  ///   - start: The position at which it starts; nil for the beginning.
  /// - Throws: ``VDPAError`` `noResources`, when it has no room or a size that no ring of the format has.
  public init(
    index: Int, size: Int, in memory: DriverMemory, features: Features, startingAt start: UInt16? = nil
  ) throws(VDPAError) {
    self.index = index
    self.memory = memory
    do {
      layout = try RingLayout(RingLayout.Format(for: features), size: size)
      kick = try EventFD.make()
      call = try EventFD.make()
      error = try EventFD.make()
      descriptor = try memory.allocate(layout.descriptorBytes)
      avail = try memory.allocate(layout.availBytes)
      used = try memory.allocate(layout.usedBytes)
      let length = DriverVring.longestTable
      tables = try memory.allocate(IndirectTables.bytes(count: size, length: length))
      let view = memory.memory.addressMap.view
      driver = DriverRing(
        try RingMemory(layout, descriptor: descriptor, avail: avail, used: used, memory: view), features: features,
        tables: features.contains(.indirectDescriptors)
          ? try IndirectTables(count: size, length: length, at: tables, memory: view) : nil,
        startingAt: start)
    } catch {
      throw VDPAError(.noResources, "vring \(index) cannot be made: \(error)", underlying: error as? Errno)
    }
  }

  /// How many bytes of memory a vring takes, at most.
  public static func bytes(_ layout: RingLayout) -> Int {
    let parts = [
      layout.descriptorBytes, layout.availBytes, layout.usedBytes,
      IndirectTables.bytes(count: layout.size, length: longestTable),
    ]
    return parts.reduce(0) { $0 + ($1 + 4095) & ~4095 }
  }

  /// The vring as a device is told of it, at the position where it stands.
  public var description: VringDescription {
    VringDescription(
      index: index, size: layout.size, descriptor: descriptor, avail: avail, used: used,
      state: VringState(index: index, nextAvail: driver.position, nextUsed: driver.position), kick: kick, call: call,
      error: error)
  }

  /// How many buffers are with the device.
  public var outstanding: Int { driver.outstanding }

  // MARK: To the device

  /// Makes a buffer available, which ``publish()`` announces.
  ///
  /// - Parameters:
  ///   - readable: What the device reads.
  ///   - writable: What the device writes, behind it.
  ///   - isIndirect: Whether the pieces, ``longestTable`` at most, are put into a table (`VIRTIO_F_INDIRECT_DESC`).
  /// - Returns: Its id; nil when there are not enough descriptors, or no pieces.
  public func add(readable: [Piece] = [], writable: [Piece] = [], isIndirect: Bool = false) -> UInt16? {
    driver.add(
      readable.map { .init(address: $0.address, length: UInt32($0.length), isWritable: false) }
        + writable.map { .init(address: $0.address, length: UInt32($0.length), isWritable: true) },
      isIndirect: isIndirect)
  }

  /// Announces what was made available, and kicks if the device wants that.
  public func publish() {
    if driver.publish() { EventFD.signal(kick) }
  }

  // MARK: From the device

  /// Takes the next buffer back that the device is done with.
  ///
  /// - Returns: nil when there is none.
  /// - Throws: ``VringFault``, when the device wrote into the ring what no device may write.
  public func collect() throws(VringFault) -> Returned? {
    if !returned.isEmpty { return returned.removeFirst() }
    return try next()
  }

  private func next() throws(VringFault) -> Returned? {
    do throws(DriverRing.DeviceFault) {
      return try driver.collect().map { (id: $0.head, length: Int($0.length)) }
    } catch {
      let what =
        switch error {
        case .unknownHead(let id): "the device returned buffer \(id), which it does not have"
        case .tooLong(let length): "the device says that it wrote \(length) bytes, more than there is room for"
        case .usedIndex: "the device returned more buffers than it has"
        case .order(let id): "the device returned buffer \(id) out of order"
        }
      throw VringFault(index: index, reason: what)
    }
  }

  /// Takes the next buffer back, as ``collect()``, and waits for it.
  ///
  /// - Parameter time: How long at most.
  /// - Returns: nil when none has come by then.
  /// - Throws: ``VringFault``, when the device wrote into the ring what no device may write.
  public func wait(for time: Duration) throws(VringFault) -> Returned? {
    let deadline = Deadline(after: time)
    while true {
      if let one = try collect() { return one }
      setWantsCalls(true)
      defer { setWantsCalls(false) }
      // What came before the device knew that it has to call.
      if let one = try collect() { return one }
      if deadline.hasPassed { return nil }
      var entry = pollfd(fd: call.rawValue, events: Int16(POLLIN), revents: 0)
      _ = unsafe poll(&entry, 1, deadline.milliseconds)
      takeCalls()
    }
  }

  /// Asks the device to call when it is done with a buffer, or to do without. After asking for it the ring must be looked
  /// at once more.
  public func setWantsCalls(_ wanted: Bool) { driver.setWantsCalls(wanted) }

  /// Takes the calls that have come; how many.
  @discardableResult
  public func takeCalls() -> UInt64 { EventFD.drain(call) }

  /// Whether whoever serves the ring has said that it found the ring broken. Asking takes it.
  public var isBroken: Bool { EventFD.drain(error) > 0 }

  /// Takes everything back that a device has given back, to be collected as ever: then the ring's position in
  /// ``description`` is where the device has come to.
  ///
  /// - Throws: ``VringFault``, as ``collect()``.
  public func takeBack() throws(VringFault) {
    while let one = try next() { returned.append(one) }
  }

  /// Makes everything that a device left behind available anew, for the next device: in order, from where the ring stands.
  ///
  /// The one before must have gone, or have stopped the ring. What it was done with can be collected as ever.
  ///
  /// - Throws: ``VringFault``, as ``collect()``.
  public func resubmit() throws(VringFault) {
    try takeBack()
    driver.resubmit()
  }
}
