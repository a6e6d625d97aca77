extension PacketBurst {
  /// One packet. It is laid out like `clinux_packet`.
  @safe @usableFromInline package struct Slot {
    /// Where the payload starts in the arena, in cache lines; the header ends there and is shorter than one.
    @usableFromInline var line: UInt32 = 0
    @usableFromInline var bytes: UInt32 = 0
    /// The id of the chain that it came in.
    package private(set) var id: UInt16 = 0
    /// How many descriptors of the ring that takes, and above it how many there are with those of its table.
    private var counts: UInt32 = 0
    /// How many descriptors it was written to (while that is about to be done, the id of the buffer that it goes to), the
    /// length of the header, and what has become of it.
    @usableFromInline var fate: UInt32 = 0
    /// Where it is to be copied from or to, while that is about to be done: first for the guest, then in this process.
    private var address: UInt64 = 0

    init() {}

    init(
      payload: Int, headerLength: Int, length: Int, id: UInt16 = 0, descriptors: UInt16 = 0, links: UInt16 = 0,
      outcome: Outcome = .pending
    ) {
      line = UInt32(truncatingIfNeeded: payload &>> 6)
      bytes = UInt32(truncatingIfNeeded: length)
      self.id = id
      counts = UInt32(descriptors) | UInt32(links) &<< 16
      fate = Slot.fate(headerLength: headerLength) | UInt32(outcome.rawValue) &<< 24
    }

    /// The fate of a packet that is there.
    @inline(__always) static func fate(headerLength: Int) -> UInt32 {
      UInt32(truncatingIfNeeded: headerLength & 0xff) &<< 16
    }

    /// How many descriptors of the ring its chain takes.
    package var descriptors: UInt16 { UInt16(truncatingIfNeeded: counts) }
    /// How many descriptors it came in, those of indirect tables included.
    package var links: UInt16 {
      get { UInt16(truncatingIfNeeded: counts &>> 16) }
      set { counts = counts & 0xffff | UInt32(newValue) &<< 16 }
    }
    /// How many it was written to.
    package var targetLinks: UInt16 {
      get { UInt16(truncatingIfNeeded: fate) }
      set { fate = fate & 0xffff_0000 | UInt32(newValue) }
    }
    @inlinable package var headerLength: Int { Int(truncatingIfNeeded: fate &>> 16 & 0xff) }
    mutating func setHeaderLength(_ length: Int) { fate = fate & 0xff00_ffff | Slot.fate(headerLength: length) }
    /// What has become of it.
    @inlinable package var outcome: Outcome {
      get { Outcome(rawValue: UInt8(truncatingIfNeeded: fate &>> 24)) ?? .pending }
      set { fate = fate & 0x00ff_ffff | UInt32(newValue.rawValue) &<< 24 }
    }

    /// Where the payload starts in the arena, in bytes.
    @inlinable package var payload: Int { Int(line) &* 64 }
    /// Where the header starts.
    @inlinable package var start: Int { payload &- headerLength }
    /// The length of header and payload in bytes.
    @inlinable package var length: Int { Int(bytes) }

    /// Forgets what has become of it, unless it is oversized.
    @inline(__always) mutating func setPending() { fate &= 0x00ff_ffff | UInt32(Outcome.oversized.rawValue) &<< 24 }
    /// It has no place any more: ``Outcome/oversized``.
    mutating func setOversized() {
      outcome = .oversized
      bytes = 0
    }
  }

  /// What has become of a packet.
  @usableFromInline package enum Outcome: UInt8 {
    /// It is in the arena.
    case pending = 0
    /// It was written into buffers of the guest.
    case delivered = 1
    /// It does not fit into the buffers that this guest gives, however many it gives.
    case undeliverable = 2
    /// Its header contradicts it, or what was negotiated.
    case invalid = 3
    /// It was longer than the arena takes and was not copied; it has no place there, and no bytes, not even a header's.
    /// Nothing else has this bit.
    case oversized = 4
  }
}

// MARK: Packets of one descriptor

extension PacketBurst.Slot {
  /// The guest address of what it is copied from or to, until that was found.
  @inline(__always) var guestAddress: UInt64 { address }

  /// What it is copied from was found in this process, and goes to that line of the arena.
  @inline(__always) mutating func setTaken(_ chain: SingleDescriptor, from host: UInt64, line: UInt32, fate: UInt32) {
    self.line = line
    bytes = chain.length
    id = chain.id
    counts = 1 | 1 &<< 16
    self.fate = fate
    address = host
  }

  /// What it is copied to was found.
  @inline(__always) mutating func setTarget(_ chain: SingleDescriptor) {
    targetLinks = chain.id
    address = chain.address
  }

  /// The id of the chain that it is copied to, until ``setDelivered(headerLength:to:)``.
  @inline(__always) var target: UInt16 { targetLinks }

  /// That is in this process.
  @inline(__always) mutating func setDelivered(headerLength: Int, to host: UInt64) {
    fate = PacketBurst.Slot.fate(headerLength: headerLength) | 1 | UInt32(PacketBurst.Outcome.delivered.rawValue) &<< 24
    address = host
  }

  /// Notes that it was written to guest memory.
  @inline(__always) func note(in notes: some WriteNotes) {
    if let host = unsafe UnsafeMutableRawPointer(bitPattern: UInt(address)) { unsafe notes.note(host, length: length) }
  }
}
