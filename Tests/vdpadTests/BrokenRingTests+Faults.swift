import FrontEndTestSupport
import Testing
import Virtio

extension BrokenRingTests {
  /// What somebody writes into a ring who means no good, and what the daemon says of it.
  struct Fault: Sendable {
    let name: String
    /// The ring that breaks: 0, where the guest receives, or 1, where it sends.
    let ring: Int
    /// What the log says.
    let reason: RingFault
    /// What the guest's driver has accepted beforehand.
    var features: Features = []
    /// Writes it into the ring, which is empty and at its beginning.
    let write: @Sendable (Guest, Guest.Ring) -> Void

    init(
      _ name: String, ring: Int = 1, _ reason: RingFault, _ write: @escaping @Sendable (Guest, Guest.Ring) -> Void
    ) {
      (self.name, self.ring, self.reason, self.write) = (name, ring, reason, write)
    }

    /// A descriptor of a chain, or of a table: its address from where the ring starts, its length, its flags, and in a split
    /// ring its successor.
    typealias Descriptor = (offset: UInt64, length: UInt32, flags: UInt16, next: UInt16)

    private static func descriptors(_ list: [Descriptor], _ ring: Guest.Ring) -> [RingDescriptor] {
      list.map {
        RingDescriptor(address: ring.base &+ $0.offset, length: $0.length, flags: $0.flags, link: $0.next)
      }
    }

    /// A chain that begins with the first of these.
    init(_ name: String, ring: Int = 1, _ reason: RingFault, _ chain: [Descriptor]) {
      self.init(name, ring: ring, reason) { $1.makeAvailable(Fault.descriptors(chain, $1)) }
    }

    /// A table, and the descriptor that refers to it.
    ///
    /// - Parameters:
    ///   - length: What the descriptor says of its length, if that is not true.
    ///   - flags: What the descriptor says beside that it is one.
    init(
      _ name: String, ring: Int = 1, _ reason: RingFault, table: [Descriptor], length: UInt32? = nil, flags: UInt16 = 0
    ) {
      self.init(name, ring: ring, reason) { guest, ring in
        let address = guest.writeTable(ring, Fault.descriptors(table, ring))
        let head = RingDescriptor(
          address: address, length: length ?? UInt32(table.count * 16), flags: RingDescriptor.indirect | flags)
        ring.makeAvailable([head, RingDescriptor(address: ring.firstBuffer, length: 64, flags: 0)])
      }
      features = [.indirectDescriptors]
    }

    private static let next = RingDescriptor.next
    private static let written = RingDescriptor.write
    private static let indirect = RingDescriptor.indirect
    private static let beforeGuest: UInt64 = 0 &- Guest.guestBase &- 1 << 16

    static func all(_ format: RingLayout.Format) -> [Fault] {
      buffers + tables + (format == .split ? splitChains + splitTables : packedChains)
    }

    private static let buffers: [Fault] = [
      Fault("a buffer outside of memory", .unmapped, [(0x1000_0000, 64, 0, 0)]),
      Fault("a buffer at address 0", .unmapped, [(beforeGuest, 64, 0, 0)]),
      Fault("a buffer across the end of memory", .unmapped, [(0x2_fff0, 64, 0, 0)]),
      Fault("a buffer across the end of the address space", .unmapped, [(beforeGuest &- 0x10, 64, 0, 0)]),
      Fault("an indirect table", .indirect, [(0x8000, 64, indirect, 0)]),
      Fault("read after written", .descriptorOrder, [(0x8000, 64, written | next, 1), (0x8100, 64, 0, 0)]),
      Fault("no room for the header", .shortBuffer, [(0x8000, 11, 0, 0)]),
      Fault("an empty buffer", .shortBuffer, [(0x8000, 0, 0, 0)]),
      Fault("a receive buffer outside of memory", ring: 0, .unmapped, [(0x1000_0000, 2048, written, 0)]),
      Fault("a receive buffer across the end", ring: 0, .unmapped, [(0x3_fff0, 2048, written, 0)]),
      Fault("a receive buffer that is read", ring: 0, .descriptorOrder, [(0x8000, 2048, 0, 0)]),
      Fault("a receive buffer of nothing", ring: 0, .shortBuffer, [(0x8000, 4, written, 0)]),
    ]

    private static let tables: [Fault] = [
      Fault("a table without a descriptor", .indirectTable, table: [(0x8000, 64, 0, 0)], length: 0),
      Fault("a table of less than a descriptor", .indirectTable, table: [(0x8000, 64, 0, 0)], length: 15),
      Fault("a table of a descriptor and a bit", .indirectTable, table: [(0x8000, 64, 0, 0)], length: 17),
      Fault("a table with a successor", .indirectTable, table: [(0x8000, 64, 0, 0)], flags: next),
      Fault("a table in a table", .indirectTable, table: [(0x8000, 64, indirect, 0)]),
      Fault("a table's buffer outside of memory", .unmapped, table: [(0x1000_0000, 64, 0, 0)]),
      Fault("no room for the header in a table", .shortBuffer, table: [(0x8000, 11, 0, 0)]),
      Fault("a receive buffer in a table that is read", ring: 0, .descriptorOrder, table: [(0x8000, 2048, 0, 0)]),
      Fault("a receive table with a table", ring: 0, .indirectTable, table: [(0x8000, 2048, written | indirect, 0)]),
      Fault("a table outside of memory", .unmapped) { _, ring in
        ring.makeAvailable([RingDescriptor(address: 0x1000, length: 16, flags: indirect)])
      },
      Fault("a table across the end of memory", .unmapped) { guest, ring in
        let end = Guest.guestBase + guest.size
        guest.write([UInt8](repeating: 0, count: 8), at: end - 8)
        ring.makeAvailable([RingDescriptor(address: end - 8, length: 16, flags: indirect)])
      },
      Fault("a table across the end of the address space", .unmapped) { _, ring in
        ring.makeAvailable([RingDescriptor(address: .max - 7, length: 16, flags: indirect)])
      },
    ].map { fault in
      var fault = fault
      fault.features = [.indirectDescriptors]
      return fault
    }

    private static let splitChains: [Fault] = [
      Fault("a descriptor that is its own successor", .chainLoop, [(0x8000, 64, next, 0)]),
      Fault("a loop of two", .chainLoop, [(0x8000, 64, next, 1), (0x8000, 64, next, 0)]),
      Fault("a successor beyond the ring", .descriptorIndex, [(0x8000, 64, next, 64)]),
      Fault("the largest successor", .descriptorIndex, [(0x8000, 64, next, .max)]),
      Fault("a receive chain that loops", ring: 0, .chainLoop, [(0x8000, 1, written | next, 0)]),
      Fault("a receive chain beyond the ring", ring: 0, .descriptorIndex, [(0x8000, 16, written | next, 64)]),
      split("a head beyond the ring", .descriptorIndex) {
        $0.setHead(at: 0, 64)
        $0.publishAvailIndex(1)
      },
      split("more available than the ring holds", .availableIndex) { $0.publishAvailIndex(65) },
      split("an available index that went back", .availableIndex) { $0.publishAvailIndex(.max) },
    ]

    private static func split(
      _ name: String, _ reason: RingFault, _ write: @escaping @Sendable (SplitRingArea) -> Void
    ) -> Fault {
      Fault(name, reason) { _, ring in if case .split(let area) = ring.memory { write(area) } }
    }

    private static let splitTables: [Fault] = [
      Fault("a table's successor beyond it", .descriptorIndex, table: [(0x8000, 64, next, 1)]),
      Fault("the largest successor in a table", .descriptorIndex, table: [(0x8000, 64, next, .max)]),
      Fault("a descriptor of a table that is its own successor", .chainLoop, table: [(0x8000, 64, next, 0)]),
      Fault(
        "a loop in a table that claims to be as long as can be", .chainLoop, table: [(0x8000, 1, next, 0)],
        length: .max - 15),
      Fault(
        "a loop in a receive table", ring: 0, .chainLoop,
        table: [(0x8000, 1, written | next, 1), (0x8000, 1, written | next, 0)]),
      Fault(
        "read after written in a table", .descriptorOrder, table: [(0x8000, 64, written | next, 1), (0x8100, 64, 0, 0)]),
    ]

    /// A chain of a packed ring goes on with the next descriptor and has an end.
    private static let packedChains: [Fault] = [
      Fault("a chain without an end", .chainLoop, Array(repeating: (0x8000, 64, next, 0), count: 64)),
      Fault(
        "a receive chain without an end", ring: 0, .chainLoop,
        Array(repeating: (0x8000, 1, written | next, 0), count: 64)),
      Fault(
        "a table that claims to be as long as can be", .chainLoop, table: [(0x8000, 0, 0, 0)], length: .max - 15),
    ]
  }
}
