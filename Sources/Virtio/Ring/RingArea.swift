/// The memory of a ring, shared with a peer that may write to any part of it at any time: what differs between the two
/// formats, so that everything else about rings is written once.
///
/// Every access is one load or store of the field's width at an index that the ring's size bounds, so the ring logic on
/// top needs no unsafe code. A *position* says how far a side has come: in a split ring the free-running index, in a
/// packed ring the index of a descriptor with the wrap counter in bit 15, as in vhost-user's VRING_BASE.
protocol RingArea {
  /// Whether the descriptors of a chain follow each other, in the ring and in indirect tables (packed), and not by their
  /// `next` fields (split).
  static var isSequential: Bool { get }
  /// The two halves of a descriptor, as they stand in memory, apart.
  static func descriptor(_ low: UInt64, _ high: UInt64) -> RingDescriptor
  /// The two halves of a descriptor, as they stand in memory.
  static func halves(_ descriptor: RingDescriptor) -> (low: UInt64, high: UInt64)

  /// The number of descriptors.
  var size: Int { get }

  /// How many chains the driver has announced from a position on, as far as one look tells: all of them in a split ring,
  /// where it may be more than the ring can hold; 0 or 1 in a packed one. What it announces is visible afterwards.
  func announced(from position: UInt16) -> Int
  /// Descriptors, and entries for used ones, from a position on to where positions start anew.
  associatedtype Stretch: RingStretch
  func stretch(from position: UInt16) -> Stretch
  /// The index of the first descriptor of the chain that was announced at a position. Anything in a split ring.
  func head(at position: UInt16) -> Int
  /// A descriptor, each of its halves fetched once.
  func descriptor(_ index: Int) -> RingDescriptor
  /// The descriptor behind another one in the same chain, outside of a table.
  func next(_ index: Int, _ descriptor: RingDescriptor) -> Int
  /// The position behind a chain of so many descriptors.
  func advance(_ position: UInt16, by descriptors: Int) -> UInt16
  /// The position of the chain of so many descriptors that is in front of another position.
  func retreat(_ position: UInt16, by descriptors: Int) -> UInt16

  /// The position that so many steps are in front of another one: chains (split) or descriptors (packed).
  func advance(_ position: UInt16, steps: Int) -> UInt16

  /// Writes what says that a chain was used. What is written as the first of several is not visible before
  /// ``publishUsed(first:length:next:)``, and nobody looks at the others before.
  func writeUsed(at position: UInt16, id: UInt16, length: UInt32, isFirst: Bool)
  /// Announces what was written from position `first` to before `next`; what it stands for is visible before.
  ///
  /// - Parameter length: That of the first one.
  func publishUsed(first: UInt16, length: UInt32, next: UInt16)

  /// Notes what ``publishUsed(first:length:next:)`` has announced and what was written for it.
  ///
  /// - Parameter count: How far positions have moved from `first` on: chains (split) or descriptors (packed).
  func noteUsed(from first: UInt16, count: Int, in log: RingLog)

  /// Whether the driver wants a call.
  ///
  /// - Parameters:
  ///   - next: The position behind the last chain that was used.
  ///   - unannounced: How far positions have moved since this was asked last.
  func wantsCall(next: UInt16, unannounced: Int, hasEventIndex: Bool) -> Bool
  /// Asks the driver for kicks for what it adds from now on, or to do without.
  ///
  /// - Returns: Which bytes of the device area were written for it, counted from its start.
  func setWantsKicks(_ wanted: Bool, hasEventIndex: Bool) -> Range<Int>
}

/// A part of a ring that loops go over with a number from 0 on: with nothing in it that a ring's end would need.
protocol RingStretch {
  /// See ``RingArea/isSequential``.
  static var isSequential: Bool { get }
  /// How many descriptors it has.
  var count: Int { get }
  /// The first ones of it, no more than it has.
  func prefix(_ count: Int) -> Self
  /// What is behind the first ones.
  func dropFirst(_ count: Int) -> Self
  /// Goes on behind so many; there may be less than none left then.
  mutating func advance(by descriptors: Int)
  /// The chain there if it is of one descriptor that is all written, or all read, by the device; nil for any other one,
  /// and for none. In a split ring it is known to have been announced.
  func single(_ index: Int, isWritable: Bool) -> SingleDescriptor?
  /// Writes what says that a chain was used; see ``RingArea/writeUsed(at:id:length:isFirst:)``.
  ///
  /// - Parameter isWritten: Whether its memory was written, so that the length means something.
  func writeUsed(_ index: Int, id: UInt16, length: UInt32, isWritten: Bool, isFirst: Bool)
}
