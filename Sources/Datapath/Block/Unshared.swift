/// A value behind a pointer of its own, for a class that one thread uses at a time: a stored property that changes costs the
/// run time's exclusivity check at each access.
@safe struct Unshared<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
  // Allocated and freed by this value alone.
  private let pointer: UnsafeMutablePointer<Value>

  init(_ value: consuming Value) {
    unsafe pointer = .allocate(capacity: 1)
    unsafe pointer.initialize(to: value)
  }

  deinit {
    unsafe pointer.deinitialize(count: 1)
    unsafe pointer.deallocate()
  }

  /// The value.
  var value: Value {
    @inline(__always) _read { yield unsafe pointer.pointee }
    @inline(__always) nonmutating _modify { yield unsafe &pointer.pointee }
  }
}
